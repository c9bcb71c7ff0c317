"""Any Gymnasium environment: what is made of it, which recipe it gets, and what is refused."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dino_rl.agents.replay import ReplayBuffer, ReplayConfig
from dino_rl.config import from_dict
from dino_rl.envs.dino.variation import DINO_ID
from dino_rl.envs.gym.make import GymConfig
from dino_rl.envs.gym.task import GymTask
from dino_rl.envs.registry import make_task
from dino_rl.envs.task import PlayOptions
from dino_rl.errors import ConfigError, DinoError
from dino_rl.presets import default_for, recipes
from dino_rl.training.rollout import random_policy

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


# --- Recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, config in recipes().items() if config.env.id])
def test_an_environment_picks_a_preset_of_its_own(name):
    config = recipes()[name]
    wanted = (config.env.id, config.algo, config.engine)
    chosen = default_for(*wanted)
    assert (chosen.env.id, chosen.algo, chosen.engine) == wanted


def test_any_other_environment_gets_the_recipe_of_its_kind():
    assert default_for("MountainCar-v0").dqn == recipes()["vectors"].dqn
    assert default_for("MountainCar-v0").run.stop_return == -110  # Gymnasium's own threshold
    assert default_for("MountainCar-v0", "cem").algo == "cem"
    assert default_for("Painted-v0").dqn == recipes()["images"].dqn
    assert default_for("Painted-v0").run.stop_return is None
    assert default_for("Painted-v1").run.stop_return == 7.0
    assert default_for("Painted-v0").env.id == "Painted-v0"


def test_the_dinos_fields_stay_the_dinos():
    assert "variation" in vars(recipes()["dino"].env)
    assert vars(recipes()["cartpole"].env).keys() == {
        *("id", "num_envs", "greedy_envs", "stack_size"),
        *("frame_size", "terminal_on_life_loss"),
    }


# --- What is made of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", VECTORS)
def test_vectors_come_as_they_are(env_id):
    task = make_task(default_for(env_id).env)
    env = task.make_training_env()
    num_envs = task.config.num_envs
    bare = gymnasium.make(env_id)
    assert task.spec.observation.shape == bare.observation_space.shape
    assert task.spec.observation.dtype == np.float32
    assert len(set(task.spec.actions)) == bare.action_space.n
    assert task.spec.frame is None
    observations, _ = env.reset(seed=5)
    np.testing.assert_array_equal(observations[3], bare.reset(seed=8)[0])
    for _ in range(5):
        observations, rewards, *_ = env.step(np.ones(num_envs, int))
        expected, reward, *_ = bare.step(1)
        np.testing.assert_array_equal(observations[3], expected)
        assert rewards[3] == reward
    env.close()


def test_other_floats_become_those_that_networks_take():
    task = GymTask(GymConfig("Doubles-v0", num_envs=1))
    assert task.spec.observation.dtype == np.float32
    assert task.make_training_env().reset(seed=1)[0].dtype == np.float32


@pytest.mark.parametrize("env_id", ["Painted-v0", "Painted-v1"])
def test_images_become_a_grey_stack(env_id):
    task = GymTask(GymConfig(env_id, num_envs=2, stack_size=3, frame_size=80))
    env = task.make_training_env()
    assert (task.spec.observation.shape, task.spec.observation.dtype) == ((80, 80, 3), np.uint8)
    assert "80x80" in task.spec.frame
    first, _ = env.reset(seed=1)
    assert first in env.observation_space
    assert (first == first[..., :1]).all()  # the first frame is repeated
    second, *_ = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(second[..., :2], first[..., 1:])
    assert (second[..., -1] != first[..., -1]).all()


def test_a_stride_that_nothing_stacks_with_is_refused():
    with pytest.raises(ConfigError, match="stack_stride"):
        from_dict(GymConfig, {"id": "Painted-v0", "num_envs": 1, "stack_stride": 2})


def test_replay_stacks_what_the_environment_stacked():
    """Frames are kept once: what is sampled must be what was seen, over the ends of episodes too."""
    task = GymTask(GymConfig("Painted-v0", num_envs=3, stack_size=4, frame_size=20))
    env = task.make_training_env()
    replay = ReplayBuffer(
        ReplayConfig(capacity=300), 3, task.spec.observation, 1, 0.99, np.random.default_rng(0)
    )
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
    task = make_task(default_for(BREAKOUT).env)
    env = task.make_training_env()
    num_envs = task.config.num_envs
    assert task.spec.observation.shape == (84, 84, 4)
    assert task.spec.actions == ("noop", "fire", "right", "left")
    assert task.versions().keys() == {"ale-py"}
    env.reset(seed=3)
    lives, lost, frames = np.full(num_envs, 5), 0, []
    for _ in range(60):
        observations, _, terminated, _, infos = env.step(np.ones(num_envs, int))
        fell = infos["lives"] < lives
        np.testing.assert_array_equal(infos["life_lost"], fell)
        assert not (terminated & (infos["lives"] > 0)).any()  # the game goes on
        lost, lives = lost + fell.sum(), infos["lives"]
        frames.append(infos["frame_number"][0])
    assert lost > 1
    assert set(np.diff(frames)) == {4}
    assert observations.dtype == np.uint8
    env.close()
    (env,) = task.make_evaluation_envs(1, PlayOptions())
    assert "life_lost" not in env.reset(seed=[0])[1]
    env.close()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3", BREAKOUT])
def test_a_seed_is_a_game(env_id):
    """Whatever else is played beside it."""
    task = make_task(default_for(env_id).env)

    def shown(seeds: list[int], i: int) -> np.ndarray:
        (env,) = task.make_evaluation_envs(len(seeds), PlayOptions())
        env.reset(seed=seeds)
        actions = [1, *([1, 0, env.single_action_space.n - 1] * 4)]
        seen = [env.step(np.full(len(seeds), action))[0][i] for action in actions]
        env.close()
        return np.array(seen)

    np.testing.assert_array_equal(shown([7], 0), shown([3, 7, 5], 1))
    assert (shown([7], 0) != shown([8], 0)).any()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3", BREAKOUT])
def test_videos_are_made_without_a_screen(env_id, monkeypatch, capfd):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    env = make_task(default_for(env_id).env).make_single_env(PlayOptions(), record=True)
    env.reset(seed=[0])
    ((frame, *_),) = env.render()
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
        "nowhere_at_all:Bar-v0": ("nowhere_at_all", "not found"),
    }.items(),
)
def test_what_nothing_here_learns_is_refused_in_one_line(env_id, words):
    with pytest.raises(DinoError) as caught:
        default_for(env_id)
    for word in (env_id, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env_id", "module", "package"),
    [("LunarLander-v3", "Box2D", "pip install box2d"), (BREAKOUT, "ale_py", "pip install ale-py")],
)
def test_what_is_not_installed_is_named(env_id, module, package, monkeypatch):
    task = make_task(default_for(env_id).env)
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DinoError, match=package):
        task.make_training_env()


def test_the_cross_entropy_method_takes_vectors_only():
    for env_id in (BREAKOUT, DINO_ID):
        with pytest.raises(DinoError, match="use --algo dqn"):
            default_for(env_id, "cem")


def test_random_play_takes_all_actions_alike():
    policy = random_policy(3, seed=1)
    actions = np.concatenate([policy(np.zeros((10, 4))) for _ in range(300)])
    np.testing.assert_allclose(np.bincount(actions) / len(actions), np.ones(3) / 3, atol=0.03)
