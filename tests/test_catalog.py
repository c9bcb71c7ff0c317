"""Any Gymnasium environment: what is made of it, which settings it gets, and what is refused."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dino_rl.agents.replay import Replay
from dino_rl.envs.catalog import (
    default_settings,
    interface,
    make_evaluation_env,
    make_single_env,
    make_training_env,
    used_settings,
)
from dino_rl.errors import DinoError
from dino_rl.evaluate import random_policy
from dino_rl.settings import DINO_ID, PRESETS, EnvSettings

VECTORS = ("CartPole-v1", "Acrobot-v1", "LunarLander-v3", "MountainCar-v0")
BREAKOUT = "ALE/Breakout-v5"


class Painted(gymnasium.Env):
    """Colours that follow from its seed, in another size for each axis; ends after ten steps."""

    render_mode = None

    def __init__(self, colours: int = 3, render_mode=None, **spaces_):
        self.observation_space = spaces.Box(0, 255, (60, 100, colours), np.uint8)
        self.action_space = spaces.Discrete(2)
        vars(self).update(spaces_)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._paint(), {}

    def step(self, action):
        self.steps += 1
        return self._paint(), float(action), self.steps == 10, False, {}

    def _paint(self):
        return np.full(self.observation_space.shape, self.np_random.integers(256), np.uint8)


@pytest.fixture(autouse=True, scope="module")
def painted():
    gymnasium.register("Painted-v0", Painted)
    gymnasium.register("Painted-v1", Painted, kwargs={"colours": 1}, reward_threshold=7.0)
    for name, changed in {
        "Doubles-v0": {"observation_space": spaces.Box(-1, 1, (3,), np.float64)},
        "Floats-v0": {"observation_space": spaces.Box(-1, 1, (8, 8, 3), np.float32)},
        "Many-v0": {"action_space": spaces.MultiDiscrete([2, 2])},
        "FromOne-v0": {"action_space": spaces.Discrete(2, start=1)},
    }.items():
        gymnasium.register(name, Painted, kwargs=changed)
    yield
    for name in ("Painted-v0", "Painted-v1", "Doubles-v0", "Floats-v0", "Many-v0", "FromOne-v0"):
        gymnasium.registry.pop(name)


# --- Settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.env.id])
def test_an_environment_picks_a_preset_of_its_own(name):
    preset = PRESETS[name]
    wanted = (preset.env.id, preset.algorithm, preset.engine)
    chosen = default_settings(*wanted)
    assert (chosen.env.id, chosen.algorithm, chosen.engine) == wanted


def test_any_other_environment_gets_the_settings_of_its_kind():
    assert default_settings("MountainCar-v0").dqn == PRESETS["vectors"].dqn
    assert default_settings("MountainCar-v0").stop_return == -110  # Gymnasium's own threshold
    assert default_settings("MountainCar-v0", "cem").algorithm == "cem"
    assert default_settings("Painted-v0").dqn == PRESETS["images"].dqn
    assert default_settings("Painted-v0").stop_return is None
    assert default_settings("Painted-v1").stop_return == 7.0
    assert default_settings("Painted-v0").env.id == "Painted-v0"


def test_the_dinos_settings_stay_the_dinos():
    assert "variation" in used_settings(EnvSettings())
    assert used_settings(PRESETS["cartpole"].env).keys() == {
        *("id", "num_envs", "greedy_envs", "stack_size", "stack_stride"),
        *("picture_size", "life_loss_is_final"),
    }


# --- What is made of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", VECTORS)
def test_vectors_come_as_they_are(env_id):
    settings = default_settings(env_id).env
    env = make_training_env(settings)
    bare = gymnasium.make(env_id)
    facts = interface(env, settings)
    assert facts.observation_shape == bare.observation_space.shape
    assert facts.dtype == np.float32
    assert len(set(facts.actions)) == bare.action_space.n
    assert facts.picture is None
    observations, _ = env.reset(seed=5)
    np.testing.assert_array_equal(observations[3], bare.reset(seed=8)[0])
    for _ in range(5):
        observations, rewards, *_ = env.step(np.ones(settings.num_envs, int))
        expected, reward, *_ = bare.step(1)
        np.testing.assert_array_equal(observations[3], expected)
        assert rewards[3] == reward
    env.close()


def test_other_floats_become_those_that_networks_take():
    settings = EnvSettings("Doubles-v0", num_envs=1, stack_stride=1)
    assert interface(make_training_env(settings), settings).dtype == np.float32


@pytest.mark.parametrize("env_id", ["Painted-v0", "Painted-v1"])
def test_images_become_a_grey_stack(env_id):
    settings = EnvSettings(env_id, num_envs=2, stack_size=3, stack_stride=1, picture_size=80)
    env = make_training_env(settings)
    facts = interface(env, settings)
    assert (facts.observation_shape, facts.dtype) == ((80, 80, 3), np.uint8)
    assert "80x80" in facts.picture
    first, _ = env.reset(seed=1)
    assert first in env.observation_space
    assert (first == first[..., :1]).all()  # the first picture stands for those before it
    second, *_ = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(second[..., :2], first[..., 1:])
    assert (second[..., -1] != first[..., -1]).all()


def test_a_stride_that_nothing_stacks_with_is_refused():
    with pytest.raises(DinoError, match="stack_stride"):
        make_training_env(EnvSettings("Painted-v0", num_envs=1, stack_stride=2))


def test_replay_stacks_what_the_environment_stacked():
    """Frames are kept once: what is sampled must be what was seen, over the ends of episodes too."""
    settings = EnvSettings("Painted-v0", num_envs=3, stack_size=4, stack_stride=1, picture_size=20)
    env = make_training_env(settings)
    replay = Replay(300, 3, (20, 20), np.uint8, 4, 1, 1, 0.99, 0.0, np.random.default_rng(0))
    observations, _ = env.reset(seed=1)
    first, ended, seen = np.ones(3, bool), np.zeros(3, bool), set()
    for _ in range(60):
        seen |= {observation.tobytes() for observation in observations}
        following, rewards, terminated, truncated, _ = env.step(np.ones(3, int))
        replay.add(observations[..., -1], first, np.ones(3, int), rewards, terminated, truncated)
        observations, first, ended = following, ended, terminated | truncated
    batch = replay.sample(500)
    assert {observation.tobytes() for observation in batch.observation} <= seen
    assert len({observation.tobytes() for observation in batch.observation}) > 100


def test_breakout_is_prepared_as_atari_games_are():
    settings = default_settings(BREAKOUT).env
    env = make_training_env(settings)
    facts = interface(env, settings)
    assert facts.observation_shape == (84, 84, 4)
    assert facts.actions == ("noop", "fire", "right", "left")
    assert facts.versions.keys() == {"ale-py"}
    env.reset(seed=3)
    lives, lost, frames = np.full(settings.num_envs, 5), 0, []
    for _ in range(60):
        observations, _, terminated, _, infos = env.step(np.ones(settings.num_envs, int))
        fell = infos["lives"] < lives
        np.testing.assert_array_equal(infos["life_lost"], fell)
        assert not (terminated & (infos["lives"] > 0)).any()  # the game goes on
        lost, lives = lost + fell.sum(), infos["lives"]
        frames.append(infos["frame_number"][0])
    assert lost > 1
    assert set(np.diff(frames)) == {4}
    assert observations.dtype == np.uint8
    env.close()
    assert "life_lost" not in make_evaluation_env(settings, 1).reset(seed=[0])[1]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3", BREAKOUT])
def test_a_seed_is_a_game(env_id):
    """Whatever else is played beside it."""
    settings = default_settings(env_id).env

    def shown(seeds: list[int], lane: int) -> np.ndarray:
        env = make_evaluation_env(settings, len(seeds))
        env.reset(seed=seeds)
        actions = [1, *([1, 0, env.single_action_space.n - 1] * 4)]
        seen = [env.step(np.full(len(seeds), action))[0][lane] for action in actions]
        env.close()
        return np.array(seen)

    np.testing.assert_array_equal(shown([7], 0), shown([3, 7, 5], 1))
    assert (shown([7], 0) != shown([8], 0)).any()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3", BREAKOUT])
def test_films_are_made_without_a_screen(env_id, monkeypatch, capfd):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    env = make_single_env(default_settings(env_id).env, render_mode="rgb_array")
    env.reset(seed=[0])
    (frame,) = env.render()
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    assert frame.std() > 0
    env.close()
    assert capfd.readouterr().err == ""


# --- What is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "words"),
    {
        "Pendulum-v1": ("continuous",),
        "FrozenLake-v1": ("observations", "Discrete(16)"),
        "Floats-v0": ("observations",),
        "Many-v0": ("actions", "MultiDiscrete"),
        "FromOne-v0": ("actions",),
        "Nope-v0": ("Unknown environment",),
        "LunarLander-v2": ("LunarLander-v3",),
        "ALE/Nope-v5": ("Unknown environment",),
        "nowhere_at_all:Bar-v0": ("pip install nowhere_at_all",),
    }.items(),
)
def test_what_nothing_here_learns_is_refused_in_one_line(env_id, words):
    with pytest.raises(DinoError) as caught:
        default_settings(env_id)
    for word in (env_id, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env_id", "module", "package"),
    [("LunarLander-v3", "Box2D", "pip install box2d"), (BREAKOUT, "ale_py", "pip install ale-py")],
)
def test_what_is_not_installed_is_named(env_id, module, package, monkeypatch):
    settings = default_settings(env_id).env
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DinoError, match=package):
        make_training_env(settings)


def test_the_cross_entropy_method_takes_vectors_only():
    for env_id in (BREAKOUT, DINO_ID):
        with pytest.raises(DinoError, match="use --algo dqn"):
            default_settings(env_id, "cem")


def test_random_play_takes_all_actions_alike():
    policy = random_policy(3, seed=1)
    actions = np.concatenate([policy(np.zeros((10, 4))) for _ in range(300)])
    np.testing.assert_allclose(np.bincount(actions) / len(actions), np.ones(3) / 3, atol=0.03)
