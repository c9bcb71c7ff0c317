"""Environments in other people's programs: options of `reset`, processes, threads and pickles.

What happens when they are closed, or not, is in test_lifetime.py.
"""

import copy
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
from conftest import ROOT

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs import DINO_ID, DinoVectorEnv
from dino_rl.spec import DRAWN_SEEDS_FROM

pytestmark = pytest.mark.browser

NEVER = GameSettings(clear_time_ms=1e9)  # no obstacle ever


@pytest.fixture(scope="module")
def env():
    """Three games without an end."""
    env = DinoVectorEnv(3, game=NEVER)
    yield env
    env.close()


# --- Options of reset ------------------------------------------------------------------------------------


def test_a_mask_that_names_no_game_changes_nothing(env):
    first, before = env.reset(seed=5)
    again, after = env.reset(options={"reset_mask": [False] * 3})
    np.testing.assert_array_equal(first, again)
    assert before["seed"].tolist() == after["seed"].tolist() == [5, 6, 7]


def test_seeds_of_games_that_are_not_named_are_ignored(env):
    env.reset(seed=5)
    for _ in range(20):
        env.step([0, 0, 0])
    _, infos = env.reset(seed=90, options={"reset_mask": np.array([False, False, True])})
    assert infos["seed"].tolist() == [5, 6, 92]
    assert (infos["score"] > 0).tolist() == [True, True, False]
    _, infos = env.reset(options={"reset_mask": np.array([True, False, False])})
    assert infos["seed"][0] >= DRAWN_SEEDS_FROM
    assert infos["seed"][1:].tolist() == [6, 92]


def test_other_options_are_ignored_as_in_gymnasium(env):
    first, _ = env.reset(seed=5, options={"colour": "green"})
    second, _ = env.reset(seed=5)
    np.testing.assert_array_equal(first, second)


def test_one_seed_determines_all_that_follows(env):
    """Also the seeds that are drawn after the given ones."""
    drawn = []
    for _ in range(2):
        env.reset(seed=np.int64(11))
        drawn.append(env.reset()[1]["seed"].tolist())
    assert drawn[0] == drawn[1]
    assert min(drawn[0]) >= DRAWN_SEEDS_FROM


# --- Pickles ---------------------------------------------------------------------------------------------


def test_a_specification_makes_the_environment_in_another_process(tmp_path, no_new_browsers):
    """Whose program has imported nothing of this project."""
    env = gymnasium.make(DINO_ID, num_actions=2, game=GameSettings(start_speed=9.0), max_episode_steps=33)
    try:
        (tmp_path / "spec").write_bytes(pickle.dumps(env.spec))
        with pytest.raises(TypeError, match="pickle its `spec`"):
            pickle.dumps(env)
        with pytest.raises(TypeError, match="pickle its `spec`"):
            copy.deepcopy(env.unwrapped)
        observation, info = env.reset(seed=4)
    finally:
        env.close()
    script = f"""
import gymnasium, json, pickle
spec = pickle.load(open({str(tmp_path / "spec")!r}, "rb"))
env = gymnasium.make(spec)
observation, info = env.reset(seed=4)
print(json.dumps([int(env.action_space.n), int(observation.sum()), info["speed"], spec.max_episode_steps]))
env.close()"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [2, int(observation.sum()), info["speed"], 33]


def test_a_vector_environment_is_not_pickled(env):
    with pytest.raises(TypeError, match="pickle its `spec`"):
        pickle.dumps(env)


def test_a_specification_is_json_if_its_arguments_are(no_new_browsers):
    env = gymnasium.make(DINO_ID, num_actions=2, max_score=50)
    try:
        text = env.spec.to_json()
    finally:
        env.close()
    spec = gymnasium.envs.registration.EnvSpec.from_json(text)
    assert (spec.id, spec.kwargs) == (DINO_ID, {"num_actions": 2, "max_score": 50})


# --- Processes and threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_of_gymnasium(context, tmp_path, no_new_browsers):
    """Each process has a browser of its own, and none needs to know the id."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import gymnasium, dino_rl
if __name__ == "__main__":
    envs = gymnasium.make_vec(
        "{DINO_ID}", num_envs=2, vectorization_mode="async", vector_kwargs={{"context": "{context}"}}
    )
    _, infos = envs.reset(seed=3)
    observations, *_ = envs.step([0, 1])
    print(infos["seed"].tolist(), observations.shape, len(set(envs.get_attr("browser_name"))))
    envs.close()
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[3, 4] (2, 80, 80, 4) 1\n"


def test_threads_take_turns_with_an_environment(env):
    """One at a time, and any of them."""

    def step(action: int) -> np.ndarray:
        return env.step([action] * 3)[0]

    results = []
    for threads in (1, 3):
        env.reset(seed=8)
        with ThreadPoolExecutor(threads) as pool:
            for action in (0, 1, 1, 0, 2, 0):
                last = pool.submit(step, action).result()
        results.append(last)
    np.testing.assert_array_equal(*results)


def test_two_environments_in_two_threads(env, no_new_browsers):
    def play(each: DinoVectorEnv) -> np.ndarray:
        each.reset(seed=8)
        for step in range(60):
            observations = each.step([step % 3] * 3)[0]
        return observations

    other = DinoVectorEnv(3, game=NEVER)
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(play, (env, other))
    finally:
        other.close()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, play(env))
