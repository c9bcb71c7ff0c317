"""Training: the loop on a world made of numbers, then whole runs on the real game."""

import csv
import itertools
import json
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import command, finish, wait_for
from gymnasium.vector import AutoresetMode
from tiny_run import TINY, TINY_IDLE

from dino_rl import train as train_module
from dino_rl.envs.catalog import default_settings
from dino_rl.errors import BrowserError, RunError
from dino_rl.results.model import Model
from dino_rl.results.runlog import EPISODE_COLUMNS, INTERVAL_COLUMNS, VALIDATION_COLUMNS, read_table
from dino_rl.results.statistics import IntervalStatistics
from dino_rl.settings import DRAWN_SEEDS_FROM, PRESETS, DQNSettings, EnvSettings, GameSettings, RunSettings
from dino_rl.train import VALIDATION_SEED, Trainer

LANES, ACTIONS = 3, 3
LOGIC = RunSettings(
    env=EnvSettings(num_envs=LANES, greedy_envs=1),
    dqn=DQNSettings(
        network="dense",
        batch_size=8,
        replay_ratio=1.0,
        replay_capacity=600,
        learning_starts=60,
        epsilon_floors=(0.1, 0.005),
    ),
    steps=600,
    minutes=None,
    validations=3,
    validation_games=4,
    validation_time_share=1e9,
)
IDLE = replace(LOGIC, dqn=replace(LOGIC.dqn, learning_starts=10**9))  # where learning would only take time


class World(gymnasium.vector.VectorEnv):
    """Numbers instead of a game: who answers the observation's largest number earns a point; episodes end by
    chance. It writes down what happened in each, and fails at the steps it is told to."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012
    browser_name = "none"

    def get_attr(self, name: str) -> tuple:
        return (getattr(self, name),) * self.num_envs

    def __init__(self, num_envs: int = LANES, length: int = 12, fail_at: tuple[int, ...] = ()):
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
        for lane in range(self.num_envs):
            if fresh[lane]:
                self.actions[lane] = Counter()
            else:
                self.actions[lane][int(actions[lane])] += 1
            if self.over[lane]:
                taken = [self.actions[lane][action] for action in range(ACTIONS)]
                episode = {"step": self.steps * self.num_envs, "env": lane, "score": self.scores[lane]}
                self.episodes.append(episode | {"taken": taken})
        return self._observe(), rewards, terminated, truncated, self._info()

    def close(self, **_):
        self.closed_by_us = True


class Judges(World):
    """Validation games that score what they are told to."""

    def __init__(self, num_envs: int, score: float):
        super().__init__(num_envs)
        self.score = score

    def step(self, actions):
        over = np.ones(self.num_envs, bool)
        scores = self.score + np.arange(self.num_envs)
        return self._observe(), np.zeros(self.num_envs), over, ~over, {"score": scores}


class Worlds:
    """Gives trainers worlds instead of browsers, and keeps them."""

    verdicts = (10.0, 30.0, 20.0)  # what validations find, in turn

    def __init__(self, patch: pytest.MonkeyPatch):
        self.made: list[World] = []
        self.judges: list[Judges] = []
        self.judged: tuple = ()  # the games of the last validation
        self.options: list[dict] = []  # of the worlds to come
        patch.setattr(train_module, "make_training_env", self._make)
        patch.setattr(train_module, "make_evaluation_envs", self._judge)

    def _make(self, settings: EnvSettings, watch: bool = False) -> World:
        self.made.append(World(settings.num_envs, **(self.options.pop(0) if self.options else {})))
        return self.made[-1]

    def _judge(self, settings: EnvSettings, num_envs: int, max_score: int, games: tuple) -> list[Judges]:
        self.judges.append(Judges(num_envs, self.verdicts[len(self.judges) % 3]))
        self.judged = games
        return self.judges[-1:]


@pytest.fixture
def worlds(monkeypatch) -> Worlds:
    return Worlds(monkeypatch)


def run(settings: RunSettings, run_dir: Path, **options) -> Trainer:
    """A whole run."""
    trainer = Trainer(settings, run_dir, **options)
    try:
        for _ in trainer.run("test"):
            pass
    finally:
        trainer.close()
    return trainer


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def comparable(run_dir: Path, name: str) -> list[dict]:
    """A table without the columns that tell the time."""
    return [{k: v for k, v in row.items() if k != "minutes"} for row in rows(run_dir / name)]


# --- The loop --------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run that is over, and what its worlds saw of it."""

    trainer: Trainer
    worlds: Worlds
    directory: Path
    best: list[bytes]  # best.h5 after each validation


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Run:
    """LOGIC from its start to its end, with a row in intervals.csv for each step."""
    with pytest.MonkeyPatch.context() as patch:
        worlds = Worlds(patch)
        patch.setattr(train_module, "INTERVAL_S", 0.0)
        directory, best = tmp_path_factory.mktemp("logic"), []
        trainer = Trainer(LOGIC, directory)
        for report in trainer.run("python run_dino.py train"):
            if report.validation:
                best.append((directory / "best.h5").read_bytes())
        trainer.close()
    return Run(trainer, worlds, directory, best)


def test_episodes_csv_says_what_happened(whole_run):
    trainer, (world,) = whole_run.trainer, whole_run.worlds.made
    table = rows(whole_run.directory / "episodes.csv")
    assert tuple(table[0])[: len(EPISODE_COLUMNS)] == EPISODE_COLUMNS
    assert len(table) == len(world.episodes) == trainer.episodes
    assert len(table) > 30
    for number, (row, episode) in enumerate(zip(table, world.episodes, strict=True), 1):
        assert int(row["episode"]) == number
        assert int(row["step"]) == episode["step"]
        assert int(row["env"]) == episode["env"]
        assert int(row["greedy"]) == (episode["env"] == LANES - 1)
        assert float(row["score"]) == float(row["return"]) == episode["score"]
        assert [int(row[name]) for name in ("nothing", "jump", "duck")] == episode["taken"]
        assert float(row["start_speed"]) == 6.0
        assert float(row["end_speed"]) == 6.0 + episode["score"]
        assert int(row["length"]) == sum(episode["taken"])
        schedule = LOGIC.dqn.epsilon((episode["step"] - LANES) / 600)
        explored = (max(schedule, 0.1), max(schedule, 0.005), 0.0)[episode["env"]]
        assert float(row["epsilon"]) == pytest.approx(explored, rel=1e-4)
    assert trainer.step == world.steps * LANES == 600
    assert [float(row["minutes"]) for row in table] == sorted(float(row["minutes"]) for row in table)


def test_intervals_csv_says_how_it_went(whole_run):
    table = read_table(whole_run.directory / "intervals.csv")
    assert tuple(table)[: len(INTERVAL_COLUMNS)] == INTERVAL_COLUMNS
    steps = np.array(table["step"])
    assert steps.tolist() == list(range(LANES, 601, LANES))
    np.testing.assert_allclose(table["progress"], steps / 600, rtol=1e-4)
    np.testing.assert_array_equal(table["replay_frames"], np.minimum(steps, 600))
    before = (steps - LANES) / 600
    np.testing.assert_allclose(table["epsilon"], [LOGIC.dqn.epsilon(p) for p in before], rtol=1e-4)
    np.testing.assert_allclose(
        table["learning_rate"], [LOGIC.dqn.learning_rate_at(p) for p in steps / 600], rtol=1e-4
    )
    # One transition learned for each step, in batches of 8, once learning has started.
    updates = np.array(table["updates"])
    assert (updates[steps <= 60] == 0).all()
    np.testing.assert_allclose(updates, np.maximum(0, steps - 60) // 8, atol=1)
    assert whole_run.trainer.learner.updates == updates[-1]
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
    assert max(drawn) + LANES < 2**32
    assert held_out == [VALIDATION_SEED + i for i in range(4)] * 3
    assert max(held_out) < DRAWN_SEEDS_FROM
    assert min(held_out) > 10_000  # those of `evaluate` begin at 0
    plain = GameSettings()
    assert whole_run.worlds.judged == (plain, whole_run.trainer.settings.env.variation.as_live(plain))


def test_best_is_the_model_of_the_best_validation(whole_run):
    table = read_table(whole_run.directory / "validations.csv")
    assert tuple(table) == VALIDATION_COLUMNS
    assert table["mean"] == [11.5, 31.5, 21.5]  # of 10, 11, 12, 13 and so on
    assert table["max"] == [13, 33, 23]
    assert table["best"] == [1, 1, 0]
    assert table["games"] == [4, 4, 4]
    assert table["step"] == pytest.approx([201, 402, 600], abs=3)
    assert whole_run.best[0] != whole_run.best[1] == whole_run.best[2]
    card = Model(whole_run.directory / "best.h5").card
    assert card["validation"]["mean"] == 31.5
    assert card["validation"]["first_seed"] == VALIDATION_SEED
    assert card["training"]["command"] == "python run_dino.py train"
    assert card["training"]["steps"] == table["step"][1]
    assert all(judges.closed_by_us for judges in whole_run.worlds.judges)


def test_a_validation_that_lasts_to_the_end_of_the_run_is_its_last(worlds, tmp_path, monkeypatch):
    an_hour_each = property(lambda trainer: trainer.step / 10 + 3600 * len(worlds.judges))
    monkeypatch.setattr(Trainer, "seconds", an_hour_each)
    run(replace(IDLE, steps=None, minutes=1.0), tmp_path)
    assert [float(row["mean"]) for row in rows(tmp_path / "validations.csv")] == [11.5]


def test_what_is_drawn_while_the_games_are_made_leaves_the_weights_alone(worlds, tmp_path, monkeypatch):
    def weights(name: str) -> list[np.ndarray]:
        trainer = Trainer(IDLE, tmp_path / name)
        trainer.close()
        return trainer.learner.network.get_weights()

    expected = weights("nothing")
    make = train_module.make_training_env
    monkeypatch.setattr(train_module, "make_training_env", lambda *args: random.seed(7) or make(*args))
    for ours, theirs in zip(weights("much"), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_stops_when_it_is_solved(worlds, tmp_path):
    worlds.options = [{"length": 2}]
    trainer = run(replace(IDLE, steps=3000, stop_return=0.1), tmp_path)
    assert 100 <= trainer.episodes < 150  # the mean is over 100 episodes
    assert len(rows(tmp_path / "validations.csv")) >= 1
    assert (tmp_path / "checkpoint" / "state.json").exists()


def test_a_browser_that_dies_is_replaced(worlds, tmp_path):
    worlds.options = [{"fail_at": (50,)}, {"fail_at": (30,)}]
    trainer = run(replace(IDLE, dqn=replace(IDLE.dqn, n_step=1)), tmp_path)
    assert len(worlds.made) == 3
    assert [world.steps for world in worlds.made] == [50, 30, 200 - 49 - 29]
    assert trainer.step == 600
    assert all(world.closed_by_us for world in worlds.made)
    table = rows(tmp_path / "episodes.csv")
    # What was running when a browser died is no episode.
    assert len(table) == sum(len(world.episodes) for world in worlds.made)
    assert [int(row["length"]) for row in table] == [sum(e["taken"]) for w in worlds.made for e in w.episodes]
    # No step is learned that no browser made: from the last picture of one to the first of the next.
    happened = {
        (one[lane].tobytes(), other[lane].tobytes())
        for world in worlds.made
        for one, other in itertools.pairwise(world.history)
        for lane in range(LANES)
    }
    batch = trainer.learner.replay.sample(2000)
    assert {
        (one.tobytes(), other.tobytes())
        for one, other in zip(batch.observation, batch.next_observation, strict=True)
    } <= happened


def test_a_browser_that_dies_again_and_again_ends_the_run_and_saves_it(worlds, tmp_path):
    worlds.options = [{"fail_at": (40,)}, *[{"fail_at": (1,)}] * 20]
    trainer = Trainer(IDLE, tmp_path)
    with pytest.raises(BrowserError):
        list(trainer.run())
    trainer.close()
    assert 3 <= len(worlds.made) <= 10
    worlds.options = []
    assert run(IDLE, tmp_path, resume=True).step == 600
    assert worlds.made[-1].steps == 200 - 39


def test_equal_seeds_give_equal_runs(whole_run, worlds, tmp_path):
    again = run(LOGIC, tmp_path / "again")
    other = run(replace(LOGIC, seed=8), tmp_path / "other")
    for name in ("episodes.csv", "validations.csv"):
        assert comparable(tmp_path / "again", name) == comparable(whole_run.directory, name)
    assert comparable(tmp_path / "other", "episodes.csv") != comparable(tmp_path / "again", "episodes.csv")
    first, second, third = (
        trainer.learner.agent.q_network.get_weights() for trainer in (whole_run.trainer, again, other)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, third, strict=True) if a.any())


# --- Stopping and going on -------------------------------------------------------------------------------


def state_of(trainer: Trainer) -> dict[str, np.ndarray]:
    """All that a run is, in arrays."""
    agent = trainer.learner.agent
    parts = {
        **{name: network.get_weights() for name, network in agent.networks.items()},
        "adam": [variable.numpy() for variable in agent.optimizer.variables],
        "counters": [trainer.step, trainer.episodes, agent.updates, trainer.best_mean],
        "replay": list(trainer.learner.replay.state().values()),
        "random": [json.dumps(rng.bit_generator.state) for rng in trainer._rngs.values()],
    }
    return {
        f"{name} {i}": np.asarray(value) for name, values in parts.items() for i, value in enumerate(values)
    }


def stop_at(trainer: Trainer, world: World, steps: int):
    """Have the run stopped, as by Ctrl-C, during its world's step of that number."""
    step = world.step

    def watched(actions):
        trainer.stopped = trainer.stopped or world.steps + 1 >= steps
        return step(actions)

    world.step = watched


def test_a_resumed_run_is_the_run_that_was_stopped(worlds, tmp_path):
    trainer = Trainer(LOGIC, tmp_path)
    stop_at(trainer, worlds.made[0], 120)
    list(trainer.run())
    trainer.close()
    assert trainer.step == 120 * LANES
    assert trainer.learner.updates > 20
    stopped = state_of(trainer)
    saved = json.loads((tmp_path / "checkpoint" / "state.json").read_text())

    resumed = Trainer(LOGIC, tmp_path, resume=True)
    loaded = state_of(resumed)
    assert loaded.keys() == stopped.keys()
    for name, array in stopped.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    assert resumed.seconds >= saved["seconds"] > 0
    assert resumed.progress == pytest.approx(0.6)

    list(resumed.run())
    resumed.close()
    assert resumed.step == 600
    assert resumed.learner.updates == pytest.approx((600 - 60) / 8, abs=2)
    table = rows(tmp_path / "episodes.csv")
    assert [int(row["episode"]) for row in table] == list(range(1, resumed.episodes + 1))
    steps = [int(row["step"]) for row in table]
    assert steps == sorted(steps)
    assert len(rows(tmp_path / "validations.csv")) == 3
    lengths = [sum(e["taken"]) for world in worlds.made for e in world.episodes]
    assert [int(row["length"]) for row in table] == lengths
    assert set(worlds.made[0].seeds).isdisjoint(worlds.made[1].seeds)  # no game is played twice


def test_a_run_can_be_stopped_before_it_has_begun(worlds, tmp_path):
    trainer = Trainer(IDLE, tmp_path)
    trainer.stopped = True
    list(trainer.run())
    trainer.close()
    assert run(IDLE, tmp_path, resume=True).step == 600


def test_speeds_after_resuming_are_those_of_the_resumed_part():
    statistics = IntervalStatistics(step=450, updates=40)
    time.sleep(0.05)
    row = statistics.report(step=453, updates=41)
    assert 0 < row["steps_per_s"] <= 3 / 0.05
    assert 0 < row["updates_per_s"] <= 1 / 0.05


def test_rows_of_work_that_was_lost_do_not_stay(worlds, tmp_path):
    """A run that is killed goes on from its last checkpoint; what came after it happens again."""
    trainer = Trainer(IDLE, tmp_path)
    stop_at(trainer, worlds.made[0], 100)
    list(trainer.run())
    trainer.stopped = False
    trainer.save = lambda: None  # killed before its next checkpoint
    del worlds.made[0].step
    stop_at(trainer, worlds.made[0], 150)
    list(trainer.run())
    trainer.close()
    assert int(rows(tmp_path / "episodes.csv")[-1]["step"]) > 300
    with (tmp_path / "episodes.csv").open("a") as file:
        file.write("99,4")  # in the middle of a line
    resumed = run(IDLE, tmp_path, resume=True)
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
        Trainer(LOGIC, tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert all(world.closed_by_us for world in worlds.made)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory) -> Path:
    """The directory of a run that was stopped after a few steps."""
    directory = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "make_training_env", lambda settings, watch: World())
        trainer = Trainer(LOGIC, directory)
        stop_at(trainer, trainer.env, 20)
        list(trainer.run())
        trainer.close()
    return directory


def test_a_checkpoint_of_other_settings_is_refused(worlds, tmp_path, stopped_run):
    changed = replace(LOGIC, env=replace(LOGIC.env, num_envs=5))
    with pytest.raises(RunError):
        Trainer(changed, stopped_run, resume=True)


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
    assert about["settings"]["seed"] == 3
    assert about["settings"]["steps"] == TINY.steps
    assert about["versions"]["browser"].startswith("chrome")
    assert about["versions"].keys() >= {"python", "tensorflow", "keras", "dino_rl"}
    episodes = rows(run_dir / "episodes.csv")
    assert len(episodes) >= 4
    for row in episodes:
        assert int(row["nothing"]) + int(row["jump"]) + int(row["duck"]) == int(row["length"])
        assert 5.9 <= float(row["start_speed"]) <= float(row["end_speed"]) <= 13.1
        assert float(row["score"]) > 0
        assert float(row["return"]) == pytest.approx(0.01 * (int(row["length"]) - 1) - 1)
    assert int(rows(run_dir / "intervals.csv")[-1]["step"]) == TINY.steps
    (validation,) = rows(run_dir / "validations.csv")
    assert int(validation["games"]) == TINY.validation_games
    assert float(validation["min"]) <= float(validation["mean"]) <= float(validation["max"])
    model = Model(run_dir / "best.h5")
    assert model.card["training"]["steps"] == TINY.steps
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
    run(replace(TINY, seed=3), tmp_path)
    for name in ("episodes.csv", "validations.csv"):
        assert comparable(tmp_path, name) == comparable(run_dir, name)
    ours, theirs = (Model(path / "best.h5").network.get_weights() for path in (tmp_path, run_dir))
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
    for number, arguments in (
        (signal.SIGINT, ("--preset", "tiny-idle", "--run-dir", run_dir, "--steps", 1_000_000)),
        (signal.SIGTERM, ("--resume", run_dir)),
    ):
        process = command("train", *arguments, program="tests/tiny_run.py")
        interrupt(process, run_dir, number)
        code, out, err = finish(process, timeout_s=60)
        assert (code, err) == (130, ""), out
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
    trainer = Trainer(replace(TINY_IDLE, validations=0), tmp_path)
    first, step, calls = trainer.env, trainer.env.step, []

    def kill_the_browser_at_40(actions):
        calls.append(None)
        if len(calls) == 40:
            for process in psutil.Process(first.arena.browser.pid).children(recursive=True):
                process.kill()
        return step(actions)

    first.step = kill_the_browser_at_40
    try:
        list(trainer.run())
        assert trainer.env is not first
        assert len(calls) == 40
        assert trainer.step == TINY.steps
    finally:
        trainer.close()
    assert [int(row["episode"]) for row in rows(tmp_path / "episodes.csv")] == list(
        range(1, trainer.episodes + 1)
    )


@pytest.mark.browser
def test_a_watched_run_shows_what_the_network_sees(tmp_path, unseen_window, no_new_browsers):
    trainer = Trainer(replace(TINY_IDLE, steps=60, validations=0), tmp_path, watch=True)
    try:
        list(trainer.run())
        text = trainer.env.arena.browser.driver.execute_script("return document.body.innerText")
    finally:
        trainer.close()
    for shown in ("what the network sees", "greedy", "nothing", "jump", "duck"):
        assert shown in text


@pytest.mark.browser
def test_the_tutorials_player_trains(tmp_path, no_new_browsers):
    """One game, two actions, no greedy lane."""
    tutorial = PRESETS["dino-tutorial"]
    dqn = replace(tutorial.dqn, learning_starts=10**9, replay_capacity=500)
    trainer = run(replace(tutorial, steps=150, minutes=None, validations=0, dqn=dqn), tmp_path)
    assert trainer.step == 150
    table = rows(tmp_path / "episodes.csv")
    assert table
    for row in table:
        assert "duck" not in row
        assert int(row["greedy"]) == 0
        assert int(row["nothing"]) + int(row["jump"]) == int(row["length"])
        assert float(row["return"]) == pytest.approx(0.1 * (int(row["length"]) - 1) - 1, rel=1e-4)


# --- Other environments ----------------------------------------------------------------------------------


def small(env_id: str, **dqn) -> RunSettings:
    """All parts of a run in seconds."""
    preset = default_settings(env_id)
    changes = {"batch_size": 8, "replay_ratio": 0.5, "replay_capacity": 2000, "updates_per_call": 2, **dqn}
    return replace(
        preset,
        env=replace(preset.env, num_envs=4),
        dqn=replace(preset.dqn, learning_starts=200, **changes),
        steps=800,
        minutes=None,
        validations=1,
        validation_games=2,
    )


@pytest.mark.parametrize(
    ("env_id", "names"),
    [("CartPole-v1", {"left", "right"}), ("ALE/Breakout-v5", {"noop", "fire", "right", "left"})],
)
def test_the_one_loop_serves_other_environments(env_id, names, tmp_path, cli):
    # Random actions keep a game of Breakout from waiting for its FIRE button.
    settings = small(env_id, network="dense", epsilon_play=0.5)
    trainer = run(settings, tmp_path / "run")
    assert trainer.learner.updates >= 20
    table = rows(tmp_path / "run" / "episodes.csv")
    assert table or env_id != "CartPole-v1"
    for row in table:
        assert sum(int(row[name]) for name in names) == int(row["length"])
        assert float(row["score"]) == float(row["return"])
        assert not {"start_speed", "jump"} & row.keys()
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(about["actions"]) == names
    card = Model(tmp_path / "run" / "best.h5").card
    assert card["env"]["id"] == env_id
    assert "variation" not in card["env"]
    assert card["versions"].keys() >= {"ale-py" if "ALE" in env_id else "pygame-ce", "gymnasium", "keras"}
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert state["step"] == 800
    longer = replace(settings, steps=1000, validations=0)
    assert run(longer, tmp_path / "run", resume=True).step == 1000


def test_a_watched_run_of_another_environment_has_a_window(tmp_path, monkeypatch):
    """As if there were a display, that nobody sees."""
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    trainer = Trainer(replace(small("CartPole-v1"), steps=40, validations=0), tmp_path, watch=True)
    try:
        assert [env.render_mode for env in trainer.env.envs] == [None] * 3 + ["human"]
        list(trainer.run())
        assert trainer.env.envs[-1].unwrapped.screen is not None
    finally:
        trainer.close()


def test_rewards_beyond_the_limit_are_learned_as_the_limit(tmp_path):
    trainer = run(small("CartPole-v1", network="dense", reward_limit=0.25, n_step=1), tmp_path)
    assert set(trainer.learner.replay.sample(100).reward.tolist()) == {0.25}
    assert {float(row["return"]) / int(row["length"]) for row in rows(tmp_path / "episodes.csv")} == {1.0}


# --- Learning --------------------------------------------------------------------------------------------


def test_it_learns_what_a_trivial_world_rewards(worlds, tmp_path):
    """Chance earns a third of the points; the best answer is in plain sight."""
    settings = replace(
        LOGIC,
        env=EnvSettings(num_envs=8, greedy_envs=4),
        dqn=replace(
            LOGIC.dqn,
            n_step=1,
            discount=0.0,
            batch_size=32,
            replay_ratio=4.0,
            replay_capacity=4000,
            learning_rate=3e-3,
            learning_rate_end=1e-3,
            target_update_rate=0.1,
            random_action_weights=(1.0, 1.0, 1.0),
        ),
        steps=6000,
        validations=0,
    )
    run(settings, tmp_path)
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
