"""The adapter for Stable-Baselines3."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs import DINO_ID, DinoVectorEnv

pytest.importorskip("stable_baselines3")

from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, is_vecenv_wrapped

from dino_rl.envs.sb3 import SB3VecEnv

SOON = GameSettings(start_speed=12.0, clear_time_ms=0.0)  # without actions it crashes within two seconds
OPTIONS = {"game": SOON, "decision_interval_frames": 4, "stack_stride": 1, "max_episode_steps": 25}
pytestmark = pytest.mark.browser


@pytest.mark.filterwarnings("error")
def test_sb3_finds_nothing_wrong_with_the_environment(no_new_browsers):
    env = gymnasium.make(DINO_ID)
    try:
        check_env(env.unwrapped)
    finally:
        env.close()


@pytest.fixture(scope="module")
def env():
    env = SB3VecEnv(DINO_ID, 3, render_mode="rgb_array", **OPTIONS)
    yield env
    env.close()


def test_channels_come_first(env):
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (4, 80, 80), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(3)
    env.seed(3)
    observations = env.reset()
    assert observations.shape == (3, 4, 80, 80)
    assert observations.flags.c_contiguous
    before = env.step(np.array([0, 1, 2]))[0]
    after = env.step(np.array([0, 1, 2]))[0]
    np.testing.assert_array_equal(after[:, :-1], before[:, 1:])


def test_seeds_are_sb3s(env):
    """Game i gets seed + i, once."""
    env.seed(40)
    env.reset()
    assert [info["seed"] for info in env.reset_infos] == [40, 41, 42]
    env.reset()
    assert min(info["seed"] for info in env.reset_infos) >= 2**31


def test_one_game_is_as_in_sb3s_own_vector_environment(no_new_browsers):
    """`DummyVecEnv` around `DinoEnv` returns what this adapter returns, through crashes and truncations."""
    theirs = DummyVecEnv([lambda: gymnasium.make(DINO_ID, disable_env_checker=True, **OPTIONS)])
    ours = SB3VecEnv(DINO_ID, 1, **OPTIONS)
    ends = {True: 0, False: 0}
    try:
        for each in (ours, theirs):
            each.seed(7)
        np.testing.assert_array_equal(ours.reset()[0], np.moveaxis(theirs.reset()[0], -1, 0))
        for step in range(150):
            action = np.array([int(step % 9 == 0)])
            (seen, reward, done, (info,)), (seen2, reward2, done2, (info2,)) = (
                ours.step(action),
                theirs.step(action),
            )
            np.testing.assert_array_equal(seen[0], np.moveaxis(seen2[0], -1, 0))
            assert (reward, done) == (reward2, done2)
            assert (reward.dtype, done.dtype) == (reward2.dtype, done2.dtype)
            assert info.keys() == info2.keys()
            last, last2 = info.pop("terminal_observation", None), info2.pop("terminal_observation", None)
            if done[0]:
                ends[info["TimeLimit.truncated"]] += 1
                np.testing.assert_array_equal(last, np.moveaxis(last2, -1, 0))
                assert ours.reset_infos == theirs.reset_infos
            assert info == info2
    finally:
        ours.close()
        theirs.close()
    assert min(ends.values()) >= 1, ends


def test_a_monitor_and_a_model_accept_it(env):
    from stable_baselines3 import DQN

    monitored = VecMonitor(env)
    model = DQN("CnnPolicy", monitored, buffer_size=200, learning_starts=30, batch_size=4, seed=1)
    assert not is_vecenv_wrapped(model.get_env(), DummyVecEnv)
    model.learn(150)
    assert model.ep_info_buffer
    assert {"r", "l"} <= model.ep_info_buffer[0].keys()
    assert env.render().shape[-1] == 3


def test_what_else_sb3_asks_for(env):
    assert env.get_attr("render_mode", [0, 2]) == ["rgb_array"] * 2
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    assert [name for name in env.env_method("get_attr", "num_envs", indices=1)] == [(3, 3, 3)]
    assert [image.shape for image in env.get_images()] == [(150, 600, 3)] * 3


def test_another_autoreset_mode_is_refused(monkeypatch):
    class Env(DinoVectorEnv):
        def __init__(self):
            self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    with pytest.raises(ValueError, match="SAME_STEP"):
        SB3VecEnv(Env())
