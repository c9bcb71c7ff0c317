"""Training: the loop on a world made of numbers, then whole runs on the real game."""

import csv
import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import command, finish, wait_for
from gymnasium.vector import AutoresetMode
from tiny_run import TINY, TINY_IDLE

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs.dino import task as dino_task
from dino_rl.errors import BrowserError, RunError
from dino_rl.experiment import make_run
from dino_rl.player import KerasPlayer
from dino_rl.presets import default_for, preset
from dino_rl.runs.csv_log import EPISODE_COLUMNS, INTERVAL_COLUMNS, VALIDATION_COLUMNS, read_table
from dino_rl.spec import DRAWN_SEEDS_FROM, ObservationSpec, TaskSpec
from dino_rl.train_config import TrainConfig
from dino_rl.training import callbacks
from dino_rl.training.callbacks import VALIDATION_SEED, Callback, Checkpoints, Validation
from dino_rl.training.run import Run
from dino_rl.training.statistics import IntervalClock

ENVS, ACTIONS = 3, 3


def changed(config: TrainConfig, **sections) -> TrainConfig:
    """A configuration with other values in some sections: changed(LOGIC, run={"steps": 60})."""
    for name, values in sections.items():
        section = getattr(config, name)
        nested = {
            key: replace(getattr(section, key), **value)
            for key, value in values.items()
            if isinstance(value, dict)
        }
        config = replace(config, **{name: replace(section, **{**values, **nested})})
    return config


LOGIC = changed(
    preset("dino"),
    env={"num_envs": ENVS, "greedy_envs": 1},
    dqn={
        "network": {"torso": "dense"},
        "replay": {"capacity": 600},
        "exploration": {"epsilon_floors": (0.1, 0.005)},
        "batch_size": 8,
        "samples_per_insert": 1.0,
        "learning_starts": 60,
    },
    run={
        "steps": 600,
        "minutes": None,
        "validations": 3,
        "validation_games": 4,
        "validation_share": 1e9,
        "calibration_steps": 0,
    },
)
IDLE = changed(LOGIC, dqn={"learning_starts": 10**9})  # where learning would only take time


class World(gymnasium.vector.VectorEnv):
    """Numbers instead of a game: who answers the observation's largest number earns a point; episodes end by
    chance. It writes down what happened in each, and fails at the steps it is told to."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012
    browser_name = "none"

    def get_attr(self, name: str) -> tuple:
        return (getattr(self, name),) * self.num_envs

    def __init__(self, num_envs: int = ENVS, length: int = 12, fail_at: tuple[int, ...] = ()):
        self.num_envs = num_envs
        self.single_observation_space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(ACTIONS)
        self.length, self.fail_at = length, set(fail_at)
        self.steps, self.closed_by_us = 0, False
        self.seeds: list[int] = []
        self.history: list[np.ndarray] = []  # all that was shown
        self.episodes: list[dict] = []

    def _observe(self) -> np.ndarray:
        self.seen = self._rng.uniform(-1, 1, (self.num_envs, ACTIONS)).astype(np.float32)
        self.history.append(self.seen)
        return self.seen.copy()

    def reset(self, *, seed=None, options=None):
        seeds = [seed] if isinstance(seed, int) else list(seed)
        self.seeds += seeds
        self._rng = np.random.default_rng(seeds)
        self.scores = np.zeros(self.num_envs)
        self.actions = [Counter() for _ in range(self.num_envs)]
        self.over = np.zeros(self.num_envs, bool)
        return self._observe(), self._info()

    def _info(self) -> dict:
        return {"score": self.scores.copy(), "speed": 6.0 + self.scores}

    def step(self, actions):
        self.steps += 1
        if self.steps in self.fail_at:
            raise BrowserError("The browser stopped answering.")
        fresh = self.over
        rewards = (actions == self.seen.argmax(axis=1)).astype(float)
        rewards[fresh] = 0.0
        self.scores[fresh] = 0
        self.scores += rewards
        ends = self._rng.random(self.num_envs) < 1 / self.length
        terminated, truncated = ends & (self._rng.random(self.num_envs) < 0.5) & ~fresh, np.zeros(1, bool)
        truncated = ends & ~terminated & ~fresh
        self.over = terminated | truncated
        for i in range(self.num_envs):
            if fresh[i]:
                self.actions[i] = Counter()
            else:
                self.actions[i][int(actions[i])] += 1
            if self.over[i]:
                taken = [self.actions[i][action] for action in range(ACTIONS)]
                episode = {"step": self.steps * self.num_envs, "env": i, "score": self.scores[i]}
                self.episodes.append(episode | {"taken": taken})
        return self._observe(), rewards, terminated, truncated, self._info()

    def close(self, **_):
        self.closed_by_us = True


class Judges(World):
    """Validation games that score what they are told to, by `verdict` in each validation."""

    def __init__(self, num_envs: int, verdict: Callable[[], float]):
        super().__init__(num_envs)
        self._verdict = verdict

    def reset(self, *, seed=None, options=None):
        self.score = self._verdict()
        return super().reset(seed=seed, options=options)

    def step(self, actions):
        over = np.ones(self.num_envs, bool)
        scores = self.score + np.arange(self.num_envs)
        return self._observe(), np.zeros(self.num_envs), over, ~over, {"score": scores}


class Worlds:
    """Gives runs worlds instead of browsers, and keeps them."""

    verdicts = (10.0, 30.0, 20.0)  # results of validations, in turn

    def __init__(self, patch: pytest.MonkeyPatch):
        self.made: list[World] = []
        self.judges: list[Judges] = []
        self.validations = 0  # begun
        self.options: list[dict] = []  # of the worlds to come
        spec = TaskSpec(
            ObservationSpec((ACTIONS,), np.dtype(np.float32)),
            ("nothing", "jump", "duck"),
            ("speed",),
            score="score",
        )
        patch.setattr(dino_task.DinoTask, "spec", spec)
        patch.setattr(dino_task.DinoTask, "make_training_env", lambda task, pictures=False: self._make(task))
        patch.setattr(dino_task.DinoTask, "make_validation_envs", lambda task, *args: self._judge(*args))

    def _make(self, task: dino_task.DinoTask) -> World:
        self.made.append(World(task.config.num_envs, **(self.options.pop(0) if self.options else {})))
        return self.made[-1]

    def _judge(self, num_envs: int, max_score: int) -> list[Judges]:
        self.judges.append(Judges(num_envs, self._verdict))
        return self.judges[-1:]

    def _verdict(self) -> float:
        self.validations += 1
        return self.verdicts[(self.validations - 1) % 3]


@pytest.fixture
def worlds(monkeypatch) -> Worlds:
    return Worlds(monkeypatch)


def train(config: TrainConfig, run_dir: Path, callbacks_: tuple[Callback, ...] = (), **options) -> Run:
    """A whole run."""
    with make_run(config, run_dir, callbacks_, command="test", **options) as run:
        run.run()
    return run


def callback_of(run: Run, kind: type):
    """The run's callback of a class."""
    return next(callback for callback in run.callbacks if isinstance(callback, kind))


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def comparable(run_dir: Path, name: str) -> list[dict]:
    """A table without the columns that tell the time."""
    return [{k: v for k, v in row.items() if k != "minutes"} for row in rows(run_dir / name)]


# --- The loop --------------------------------------------------------------------------------------------


@dataclass
class WholeRun:
    """A run that is over, and what its worlds saw of it."""

    run: Run
    worlds: Worlds
    directory: Path
    best: list[bytes]  # best.h5 after each validation


class CopiesOfBest(Callback):
    """Keeps best.h5 as it is after each validation."""

    def __init__(self, run_dir: Path):
        self.path, self.copies = run_dir / "best.h5", []

    def on_validation(self, run, row):
        self.copies.append(self.path.read_bytes())


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> WholeRun:
    """LOGIC from its start to its end, with a row in intervals.csv for each step."""
    with pytest.MonkeyPatch.context() as patch:
        worlds = Worlds(patch)
        patch.setattr(callbacks, "INTERVAL_S", 0.0)
        directory = tmp_path_factory.mktemp("logic")
        best = CopiesOfBest(directory)
        with make_run(LOGIC, directory, [best], command="python run_dino.py train") as run:
            run.run()
    return WholeRun(run, worlds, directory, best.copies)


def test_episodes_csv_says_what_happened(whole_run):
    run, (world,) = whole_run.run, whole_run.worlds.made
    table = rows(whole_run.directory / "episodes.csv")
    assert tuple(table[0])[: len(EPISODE_COLUMNS)] == EPISODE_COLUMNS
    assert len(table) == len(world.episodes) == run.episodes
    assert len(table) > 30
    for number, (row, episode) in enumerate(zip(table, world.episodes, strict=True), 1):
        assert int(row["episode"]) == number
        assert int(row["step"]) == episode["step"]
        assert int(row["env"]) == episode["env"]
        assert int(row["greedy"]) == (episode["env"] == ENVS - 1)
        assert float(row["score"]) == float(row["return"]) == episode["score"]
        assert [int(row[name]) for name in ("nothing", "jump", "duck")] == episode["taken"]
        assert float(row["start_speed"]) == 6.0
        assert float(row["end_speed"]) == 6.0 + episode["score"]
        assert int(row["length"]) == sum(episode["taken"])
        schedule = LOGIC.dqn.exploration.epsilon((episode["step"] - ENVS) / 600)
        explored = (max(schedule, 0.1), max(schedule, 0.005), 0.0)[episode["env"]]
        assert float(row["epsilon"]) == pytest.approx(explored, rel=1e-4)
    assert run.step == world.steps * ENVS == 600
    assert [float(row["minutes"]) for row in table] == sorted(float(row["minutes"]) for row in table)


def test_intervals_csv_says_how_it_went(whole_run):
    table = read_table(whole_run.directory / "intervals.csv")
    assert tuple(table)[: len(INTERVAL_COLUMNS)] == INTERVAL_COLUMNS
    steps = np.array(table["step"])
    assert steps.tolist() == list(range(ENVS, 601, ENVS))
    np.testing.assert_allclose(table["progress"], steps / 600, rtol=1e-4)
    np.testing.assert_array_equal(table["replay_frames"], np.minimum(steps, 600))
    before = (steps - ENVS) / 600
    epsilon = LOGIC.dqn.exploration.epsilon
    np.testing.assert_allclose(table["epsilon"], [epsilon(p) for p in before], rtol=1e-4)
    np.testing.assert_allclose(
        table["learning_rate"], [LOGIC.dqn.learning_rate_at(p) for p in steps / 600], rtol=1e-4
    )
    # One transition learned for each step, in batches of 8, once learning has started.
    updates = np.array(table["updates"])
    assert (updates[steps <= 60] == 0).all()
    np.testing.assert_allclose(updates, np.maximum(0, steps - 60) // 8, atol=1)
    assert whole_run.run.algorithm.updates == updates[-1]
    learned = np.diff(updates, prepend=0) > 0
    for name in ("loss", "q_mean"):
        assert np.isfinite(np.array(table[name])[learned]).all()
        assert np.isnan(np.array(table[name])[~learned]).all()
    assert (np.array(table["steps_per_s"]) > 0).all()


def test_games_of_training_and_of_validation_are_never_the_same(whole_run):
    drawn = {seed for world in whole_run.worlds.made for seed in world.seeds}
    held_out = [seed for judges in whole_run.worlds.judges for seed in judges.seeds]
    assert drawn
    assert min(drawn) >= DRAWN_SEEDS_FROM
    assert max(drawn) + ENVS < 2**32
    assert held_out == [VALIDATION_SEED + i for i in range(4)] * 3
    assert max(held_out) < DRAWN_SEEDS_FROM
    assert min(held_out) > 10_000  # those of `evaluate` begin at 0


def test_validation_games_are_the_game_and_the_game_as_live_play_varies_it(monkeypatch):
    made = []
    monkeypatch.setattr(
        dino_task.DinoTask, "_make_vector", lambda task, *args, **kw: made.append((*args, kw))
    )
    list(dino_task.DinoTask(LOGIC.env).make_validation_envs(5, 77))
    (first, one), (second, other) = made
    plain, variation = GameSettings(), LOGIC.env.variation
    varied = replace(
        variation.as_live(plain),
        start_speed=variation.start_speed,
        random_start_share=0.5,
        full_speed_share=0.5,
    )
    assert (first, second) == (3, 2)
    assert (one["game"], other["game"]) == (plain, varied)
    assert one["max_score"] == other["max_score"] == 77


def test_best_is_the_model_of_the_best_validation(whole_run):
    table = read_table(whole_run.directory / "validations.csv")
    assert tuple(table) == VALIDATION_COLUMNS
    assert table["mean"] == [11.5, 31.5, 21.5]  # of 10, 11, 12, 13 and so on
    assert table["max"] == [13, 33, 23]
    assert table["best"] == [1, 1, 0]
    assert table["games"] == [4, 4, 4]
    assert table["step"] == pytest.approx([201, 402, 600], abs=3)
    assert whole_run.best[0] != whole_run.best[1] == whole_run.best[2]
    card = KerasPlayer(whole_run.directory / "best.h5").card
    assert card["validation"]["mean"] == 31.5
    assert card["validation"]["first_seed"] == VALIDATION_SEED
    assert card["training"]["command"] == "python run_dino.py train"
    assert card["training"]["steps"] == table["step"][1]
    (judges,) = whole_run.worlds.judges  # one for all validations
    assert judges.closed_by_us


def test_a_validation_that_lasts_to_the_end_of_the_run_is_its_last(worlds, tmp_path, monkeypatch):
    an_hour_each = property(lambda run: run.step / 10 + 3600 * worlds.validations)
    monkeypatch.setattr(Run, "seconds", an_hour_each)
    train(changed(IDLE, run={"minutes": 1.0}), tmp_path)
    assert [float(row["mean"]) for row in rows(tmp_path / "validations.csv")] == [11.5]


def test_what_is_drawn_while_the_games_are_made_leaves_the_weights_alone(worlds, tmp_path, monkeypatch):
    def weights(name: str) -> list[np.ndarray]:
        with make_run(IDLE, tmp_path / name) as run:
            return run.algorithm.agent.network.get_weights()

    expected = weights("nothing")
    make = dino_task.DinoTask.make_training_env
    monkeypatch.setattr(dino_task.DinoTask, "make_training_env", lambda *args: random.seed(7) or make(*args))
    for ours, theirs in zip(weights("much"), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_stops_when_it_is_solved(worlds, tmp_path):
    worlds.options = [{"length": 2}]
    run = train(changed(IDLE, run={"steps": 3000, "stop_return": 0.1}), tmp_path)
    assert run.solved_with >= 0.1
    assert 100 <= run.episodes < 150  # the mean is over 100 episodes
    assert len(rows(tmp_path / "validations.csv")) >= 1
    assert (tmp_path / "checkpoint" / "state.json").exists()


class Faults(Callback):
    """Keeps the faults of a run's environments."""

    def __init__(self):
        self.seen = []

    def on_slice(self, run, part):
        if part.fault:
            self.seen.append(part.fault)


def test_a_browser_that_dies_is_replaced(worlds, tmp_path):
    worlds.options = [{"fail_at": (50,)}, {"fail_at": (30,)}]
    faults = Faults()
    run = train(changed(IDLE, dqn={"n_step": 1}), tmp_path, (faults,))
    assert len(worlds.made) == 3
    assert [str(fault) for fault in faults.seen] == ["The browser stopped answering."] * 2
    assert [world.steps for world in worlds.made] == [50, 30, 200 - 49 - 29]
    assert run.step == 600
    assert all(world.closed_by_us for world in worlds.made)
    table = rows(tmp_path / "episodes.csv")
    # What was running when a browser died is no episode.
    assert len(table) == sum(len(world.episodes) for world in worlds.made)
    assert [int(row["length"]) for row in table] == [sum(e["taken"]) for w in worlds.made for e in w.episodes]
    # No step is learned that no browser made: from the last observation of one to the first of the next.
    happened = {
        (one[i].tobytes(), other[i].tobytes())
        for world in worlds.made
        for one, other in itertools.pairwise(world.history)
        for i in range(ENVS)
    }
    batch = run.algorithm.agent.replay.sample(2000)
    assert {
        (one.tobytes(), other.tobytes())
        for one, other in zip(batch.observation, batch.next_observation, strict=True)
    } <= happened


def test_a_browser_that_dies_again_and_again_ends_the_run_and_saves_it(worlds, tmp_path):
    worlds.options = [{"fail_at": (40,)}, *[{"fail_at": (1,)}] * 20]
    with make_run(IDLE, tmp_path) as run, pytest.raises(BrowserError):
        run.run()
    assert 3 <= len(worlds.made) <= 10
    worlds.options = []
    assert train(IDLE, tmp_path, resume=True).step == 600
    assert worlds.made[-1].steps == 200 - 39


def test_browsers_that_die_now_and_then_do_not_end_a_run(worlds, tmp_path):
    """A run of days sees many: only those count that die without a step in between."""
    worlds.options = [{"fail_at": (5,)}] * 20
    assert train(IDLE, tmp_path).step == 600
    assert len(worlds.made) == 21


def test_equal_seeds_give_equal_runs(whole_run, worlds, tmp_path):
    again = train(LOGIC, tmp_path / "again")
    other = train(changed(LOGIC, run={"seed": 8}), tmp_path / "other")
    for name in ("episodes.csv", "validations.csv"):
        assert comparable(tmp_path / "again", name) == comparable(whole_run.directory, name)
    assert comparable(tmp_path / "other", "episodes.csv") != comparable(tmp_path / "again", "episodes.csv")
    first, second, third = (
        run.algorithm.agent.dqn.q_network.get_weights() for run in (whole_run.run, again, other)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, third, strict=True) if a.any())


# --- Stopping and continuing -----------------------------------------------------------------------------


def state_of(run: Run) -> dict[str, np.ndarray]:
    """All that a run is, in arrays."""
    agent = run.algorithm.agent
    best_mean = callback_of(run, Validation).state()["best_mean"]
    parts = {
        **{name: network.get_weights() for name, network in agent.networks.items()},
        "adam": [variable.numpy() for variable in agent.dqn.optimizer.variables],
        "counters": [run.step, run.episodes, agent.updates, best_mean],
        "replay": list(agent.replay.state().values()),
        "random": [json.dumps(rng.bit_generator.state) for rng in run.algorithm._rngs.values()],
    }
    return {
        f"{name} {i}": np.asarray(value) for name, values in parts.items() for i, value in enumerate(values)
    }


def stop_at(run: Run, world: World, steps: int):
    """Have the run stopped, as by Ctrl-C, during its world's step of that number."""
    step = world.step

    def watched(actions):
        run.stopped = run.stopped or world.steps + 1 >= steps
        return step(actions)

    world.step = watched


def test_a_resumed_run_is_the_run_that_was_stopped(worlds, tmp_path):
    with make_run(LOGIC, tmp_path) as run:
        stop_at(run, worlds.made[0], 120)
        run.run()
    assert run.step == 120 * ENVS
    assert run.algorithm.updates > 20
    stopped = state_of(run)
    saved = json.loads((tmp_path / "checkpoint" / "state.json").read_text())

    with make_run(LOGIC, tmp_path, resume=True) as resumed:
        loaded = state_of(resumed)
        assert loaded.keys() == stopped.keys()
        for name, array in stopped.items():
            np.testing.assert_array_equal(loaded[name], array, err_msg=name)
        assert resumed.seconds >= saved["seconds"] > 0
        assert resumed.progress == pytest.approx(0.6)
        resumed.run()
    assert resumed.step == 600
    assert resumed.algorithm.updates == pytest.approx((600 - 60) / 8, abs=2)
    table = rows(tmp_path / "episodes.csv")
    assert [int(row["episode"]) for row in table] == list(range(1, resumed.episodes + 1))
    steps = [int(row["step"]) for row in table]
    assert steps == sorted(steps)
    assert len(rows(tmp_path / "validations.csv")) == 3
    lengths = [sum(e["taken"]) for world in worlds.made for e in world.episodes]
    assert [int(row["length"]) for row in table] == lengths
    assert set(worlds.made[0].seeds).isdisjoint(worlds.made[1].seeds)  # no game is played twice


def test_a_run_can_be_stopped_before_it_has_begun(worlds, tmp_path):
    with make_run(IDLE, tmp_path) as run:
        run.stopped = True
        run.run()
    assert train(IDLE, tmp_path, resume=True).step == 600


def test_speeds_after_resuming_are_those_of_the_resumed_part():
    clock = IntervalClock(step=450, updates=40)
    time.sleep(0.05)
    row = clock.report(step=453, updates=41)
    assert 0 < row["steps_per_s"] <= 3 / 0.05
    assert 0 < row["updates_per_s"] <= 1 / 0.05


def test_rows_of_work_that_was_lost_do_not_stay(worlds, tmp_path):
    """A run that is killed continues from its last checkpoint; what came after it happens again."""
    with make_run(IDLE, tmp_path) as run:
        stop_at(run, worlds.made[0], 100)
        run.run()
        run.stopped = False
        callback_of(run, Checkpoints).save = lambda run: None  # killed before its next checkpoint
        del worlds.made[0].step
        stop_at(run, worlds.made[0], 150)
        run.run()
    assert int(rows(tmp_path / "episodes.csv")[-1]["step"]) > 300
    with (tmp_path / "episodes.csv").open("a") as file:
        file.write("99,4")  # in the middle of a line
    resumed = train(IDLE, tmp_path, resume=True)
    table = rows(tmp_path / "episodes.csv")
    assert [int(row["episode"]) for row in table] == list(range(1, resumed.episodes + 1))
    steps = [int(row["step"]) for row in table]
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", ["q_network.keras", "average_network.keras", "replay.npz", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "other"])
def test_a_damaged_checkpoint_is_named_and_left_alone(name, damage, worlds, tmp_path, stopped_run):
    for path in stopped_run.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(stopped_run)).parent.mkdir(exist_ok=True)
            (tmp_path / path.relative_to(stopped_run)).write_bytes(path.read_bytes())
    path = tmp_path / "checkpoint" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        path.write_bytes(b"{}")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=str(tmp_path)) as caught:
        make_run(LOGIC, tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert all(world.closed_by_us for world in worlds.made)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory) -> Path:
    """The directory of a run that was stopped after a few steps."""
    directory = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        worlds = Worlds(patch)
        with make_run(LOGIC, directory) as run:
            stop_at(run, worlds.made[0], 20)
            run.run()
    return directory


def test_a_checkpoint_of_other_settings_is_refused(worlds, tmp_path, stopped_run):
    with pytest.raises(RunError):
        make_run(changed(LOGIC, env={"num_envs": 5}), stopped_run, resume=True)


# --- The real game ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> tuple[Path, str]:
    """A whole run by the command line, in a process of its own: its directory and what it said."""
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    process = command(
        "train", "--preset", "tiny", "--run-dir", run_dir, "--seed", 3, program="tests/tiny_run.py"
    )
    code, out, err = finish(process)
    assert (code, err) == (0, ""), out
    return run_dir, out


@pytest.mark.browser
def test_a_run_leaves_all_that_it_promises(tiny_run, cli):
    run_dir, out = tiny_run
    about = json.loads((run_dir / "run.json").read_text())
    assert about["settings"]["run"]["seed"] == 3
    assert about["settings"]["run"]["steps"] == TINY.run.steps
    assert about["versions"]["browser"].startswith("chrome")
    assert about["versions"].keys() >= {"python", "tensorflow", "keras", "dino_rl"}
    episodes = rows(run_dir / "episodes.csv")
    assert len(episodes) >= 4
    for row in episodes:
        assert int(row["nothing"]) + int(row["jump"]) + int(row["duck"]) == int(row["length"])
        assert 5.9 <= float(row["start_speed"]) <= float(row["end_speed"]) <= 13.1
        assert float(row["score"]) > 0
        assert float(row["return"]) == pytest.approx(0.01 * (int(row["length"]) - 1) - 1)
    assert int(rows(run_dir / "intervals.csv")[-1]["step"]) == TINY.run.steps
    (validation,) = rows(run_dir / "validations.csv")
    assert int(validation["games"]) == TINY.run.validation_games
    assert float(validation["min"]) <= float(validation["mean"]) <= float(validation["max"])
    model = KerasPlayer(run_dir / "best.h5")
    assert model.card["training"]["steps"] == TINY.run.steps
    assert "train --preset tiny" in model.card["training"]["command"]
    assert model.values(np.zeros((1, 80, 80, 4), np.uint8)).shape == (1, 3)
    assert "validation" in out
    assert "best.h5" in out
    code, _, err = cli("plot", run_dir)
    assert (code, err) == (0, "")
    for name in ("curves-light.png", "curves-dark.png"):
        assert (run_dir / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.browser
def test_two_runs_with_one_seed_are_equal(tiny_run, tmp_path, no_new_browsers):
    run_dir, _ = tiny_run
    train(changed(TINY, run={"seed": 3}), tmp_path)
    for name in ("episodes.csv", "validations.csv"):
        assert comparable(tmp_path, name) == comparable(run_dir, name)
    ours, theirs = (KerasPlayer(path / "best.h5").network.get_weights() for path in (tmp_path, run_dir))
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(first, second)


def interrupt(process, run_dir: Path, number: int):
    """Send a signal once the run has played some episodes."""
    table = run_dir / "episodes.csv"

    def episodes() -> int:
        return len(rows(table)) if table.exists() else 0

    before = episodes()
    wait_for(lambda: episodes() >= before + 3, process, timeout_s=90)
    process.send_signal(number)


@pytest.mark.browser
def test_interrupted_and_resumed(tmp_path, no_new_browsers):
    """Ctrl-C, then on again until a polite kill: one run, and no browser left."""
    run_dir = tmp_path / "run"
    steps = []
    for number, ends_with, arguments in (
        (signal.SIGINT, 130, ("--preset", "tiny-idle", "--run-dir", run_dir, "--steps", 1_000_000)),
        (signal.SIGTERM, 143, ("--resume", run_dir)),
    ):
        process = command("train", *arguments, program="tests/tiny_run.py")
        interrupt(process, run_dir, number)
        code, out, err = finish(process, timeout_s=60)
        assert (code, err) == (ends_with, ""), out
        assert f"train --resume {run_dir}" in out
        state = json.loads((run_dir / "checkpoint" / "state.json").read_text())
        steps.append(state["step"])
    assert 0 < steps[0] < steps[1] < 1_000_000
    table = rows(run_dir / "episodes.csv")
    assert [int(row["episode"]) for row in table] == list(range(1, state["episodes"] + 1))
    assert [int(row["step"]) for row in table] == sorted(int(row["step"]) for row in table)
    assert len({row["episode"] for row in table if int(row["step"]) > steps[0]}) >= 3
    left = {path.name for path in run_dir.iterdir()}
    assert not {name for name in left if "part" in name or "old" in name}


@pytest.mark.browser
def test_a_real_browser_that_is_killed_is_replaced(tmp_path, no_new_browsers):
    run = make_run(changed(TINY_IDLE, run={"validations": 0}), tmp_path)
    first, step, calls = run.algorithm._env, run.algorithm._env.step, []

    def kill_the_browser_at_40(actions):
        calls.append(None)
        if len(calls) == 40:
            for process in psutil.Process(first.arena.browser.pid).children(recursive=True):
                process.kill()
        return step(actions)

    first.step = kill_the_browser_at_40
    with run:
        run.run()
        assert run.algorithm._env is not first
        assert len(calls) == 40
        assert run.step == TINY.run.steps
    assert [int(row["episode"]) for row in rows(tmp_path / "episodes.csv")] == list(
        range(1, run.episodes + 1)
    )


@pytest.mark.browser
def test_the_tutorials_player_trains(tmp_path, no_new_browsers):
    """One game, two actions, no greedy environment."""
    tutorial = changed(
        preset("dino-tutorial"),
        dqn={"learning_starts": 10**9, "replay": {"capacity": 500}},
        run={"steps": 150, "minutes": None, "validations": 0},
    )
    assert train(tutorial, tmp_path).step == 150
    table = rows(tmp_path / "episodes.csv")
    assert table
    for row in table:
        assert "duck" not in row
        assert int(row["greedy"]) == 0
        assert int(row["nothing"]) + int(row["jump"]) == int(row["length"])
        assert float(row["return"]) == pytest.approx(0.1 * (int(row["length"]) - 1) - 1, rel=1e-4)


# --- Other environments ----------------------------------------------------------------------------------


def small(env_id: str, **dqn) -> TrainConfig:
    """All parts of a run in seconds."""
    changes = {"batch_size": 8, "samples_per_insert": 0.5, "updates_per_call": 2, "learning_starts": 200}
    return changed(
        default_for(env_id),
        env={"num_envs": 4},
        dqn={**changes, "replay": {"capacity": 2000}, **dqn},
        run={"steps": 800, "minutes": None, "validations": 1, "validation_games": 2},
    )


@pytest.mark.parametrize(
    ("env_id", "names"),
    [("CartPole-v1", {"left", "right"}), ("ALE/Breakout-v5", {"noop", "fire", "right", "left"})],
)
def test_the_one_loop_serves_other_environments(env_id, names, tmp_path, cli):
    # Random actions keep a game of Breakout from waiting for its FIRE button.
    config = small(env_id, network={"torso": "dense"}, exploration={"epsilon_evaluation": 0.5})
    run = train(config, tmp_path / "run")
    assert run.algorithm.updates >= 20
    table = rows(tmp_path / "run" / "episodes.csv")
    assert table or env_id != "CartPole-v1"
    for row in table:
        assert sum(int(row[name]) for name in names) == int(row["length"])
        assert float(row["score"]) == float(row["return"])
        assert not {"start_speed", "jump"} & row.keys()
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(about["actions"]) == names
    card = KerasPlayer(tmp_path / "run" / "best.h5").card
    assert card["settings"]["env"]["id"] == env_id
    assert "variation" not in card["settings"]["env"]
    assert card["versions"].keys() >= {"ale-py" if "ALE" in env_id else "pygame-ce", "gymnasium", "keras"}
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert state["step"] == 800
    longer = changed(config, run={"steps": 1000, "validations": 0})
    assert train(longer, tmp_path / "run", resume=True).step == 1000


def test_rewards_beyond_the_limit_are_learned_as_the_limit(tmp_path):
    run = train(small("CartPole-v1", network={"torso": "dense"}, reward_clip=0.25, n_step=1), tmp_path)
    assert set(run.algorithm.agent.replay.sample(100).reward.tolist()) == {0.25}
    assert {float(row["return"]) / int(row["length"]) for row in rows(tmp_path / "episodes.csv")} == {1.0}


# --- Learning --------------------------------------------------------------------------------------------


def test_it_learns_what_a_trivial_world_rewards(worlds, tmp_path):
    """Chance earns a third of the points; the best answer is in plain sight."""
    config = changed(
        LOGIC,
        env={"num_envs": 8, "greedy_envs": 4},
        dqn={
            "n_step": 1,
            "discount": 0.0,
            "batch_size": 32,
            "samples_per_insert": 4.0,
            "replay": {"capacity": 4000},
            "learning_rate": 3e-3,
            "learning_rate_end": 1e-3,
            "target_update_rate": 0.1,
            "exploration": {"action_weights": (1.0, 1.0, 1.0)},
        },
        run={"steps": 6000, "validations": 0},
    )
    train(config, tmp_path)
    table = [row for row in rows(tmp_path / "episodes.csv") if row["greedy"] == "1"]
    late = table[-len(table) // 3 :]
    share = sum(float(row["score"]) for row in late) / sum(int(row["length"]) for row in late)
    assert share > 0.9


@pytest.mark.learning
@pytest.mark.browser
@pytest.mark.timeout(900)
def test_it_learns_to_survive_the_dino(tmp_path, cli):
    """Three minutes: far beyond the 45 points of a random player, who meets two cacti."""
    run_dir = tmp_path / "run"
    assert cli("train", "--minutes", 3, "--run-dir", run_dir)[0] == 0
    code, _, _ = cli(
        *("evaluate", "--model", run_dir / "best.h5", "--games", 20, "--max-score", 1000),
        *("--json", tmp_path / "e.json"),
    )
    assert code == 0
    assert json.loads((tmp_path / "e.json").read_text())["mean"] > 150


@pytest.mark.learning
@pytest.mark.timeout(1600)
@pytest.mark.parametrize(("env_id", "minutes"), [("CartPole-v1", 5), ("LunarLander-v3", 25)])
def test_it_solves(env_id, minutes, tmp_path, cli):
    code, out, _ = cli("train", "--env", env_id, "--run-dir", tmp_path / "run")
    assert code == 0
    assert "solved" in out
    spent = float(rows(tmp_path / "run" / "intervals.csv")[-1]["minutes"])
    assert spent < minutes


@pytest.mark.learning
@pytest.mark.timeout(3600)
def test_it_learns_breakout_from_pixels(tmp_path, cli):
    """Half an hour; random play earns between one and two points."""
    run_dir, path = tmp_path / "run", tmp_path / "e.json"
    assert cli("train", "--env", "ALE/Breakout-v5", "--run-dir", run_dir)[0] == 0
    arguments = ("--games", 30, "--against-random", "--json", path)
    assert cli("evaluate", "--model", run_dir / "best.h5", *arguments)[0] == 0
    result = json.loads(path.read_text())
    assert result["confidence"][0] > 2 * result["random"]["confidence"][1]
