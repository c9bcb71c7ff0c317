"""What goes wrong from outside: browsers that die and hang, full disks, signals, terminals, strange numbers.

The quick tests run with all others. Those marked `faults` take minutes: `make test-faults`.
"""

import contextlib
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import (
    ROOT,
    browser_processes,
    command,
    files_below,
    finish,
    still_running,
    video_facts,
    wait_for,
)
from test_cli import refused
from test_evaluate import Numbers, by_seed, expected_game
from test_train import IDLE, LOGIC, World, callback_of, changed, rows, stop_at, train
from test_train import worlds as worlds

from dino_rl import machine, terminal, workspace
from dino_rl.agents.networks import NetworkConfig, build_q_network, count_weights
from dino_rl.browser import chrome, driver
from dino_rl.envs.gym.make import GymConfig, spec_of
from dino_rl.envs.gym.task import GymTask
from dino_rl.envs.task import PlayOptions
from dino_rl.errors import (
    BrowserError,
    DinoError,
    EnvError,
    NoBrowserError,
    NotFiniteError,
    RunError,
)
from dino_rl.experiment import make_run
from dino_rl.interrupt import handled, stop_on_signals
from dino_rl.presets import default_for
from dino_rl.runs import checkpoint
from dino_rl.runs.output import check_writable, write_text
from dino_rl.runs.run_lock import RunLock, new_directory
from dino_rl.training.callbacks import SAVING_SHARE, Callback, Checkpoints, KeepBest
from dino_rl.training.faults import MAX_FAULTS, FaultCount, ReplaceableEnvs
from dino_rl.training.run import RunConfig
from dino_rl.workspace import Workspace

browser = pytest.mark.browser
faults = pytest.mark.faults


def cartpole(run_dir: Path | None = None, *more) -> list:
    """A run of seconds, without a browser."""
    place = ["--run-dir", run_dir] if run_dir else []
    return ["train", "--env", "CartPole-v1", "--algo", "cem", "--num-envs", 4, *place, *more]


def one_line(err: str) -> str:
    """The only line of the errors, which is no traceback."""
    (line,) = err.strip().splitlines()
    assert line.startswith("dino-rl: "), err
    return line


# --- Locks and leftovers ---------------------------------------------------------------------------------


def test_a_run_directory_has_one_writer(tmp_path):
    lock = RunLock(tmp_path / "a" / "run")
    with pytest.raises(RunError, match="in use by another process"):
        RunLock(tmp_path / "a" / "run")
    (tmp_path / "a" / "run" / "file").write_text("x")
    lock.close()
    RunLock(tmp_path / "a" / "run").close()
    assert (tmp_path / "a" / "run" / "file").exists()


def test_a_directory_that_was_created_for_nothing_is_removed(tmp_path):
    (tmp_path / "before").mkdir()
    for path in ("before/run", "new/runs/run"):
        RunLock(tmp_path / path).close()
        with new_directory(tmp_path / path) as created:
            assert created == tmp_path / path
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    assert not list((tmp_path / "before").iterdir())


def test_a_lock_ends_with_its_process(tmp_path):
    code = f"""
import time
from pathlib import Path
from dino_rl.runs.run_lock import RunLock
lock = RunLock(Path({str(tmp_path)!r}))
print("locked", flush=True)
time.sleep(60)"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(RunError):
        RunLock(tmp_path)
    process.kill()
    process.communicate()
    RunLock(tmp_path).close()


def test_two_trainers_in_one_directory(worlds, tmp_path):
    with make_run(IDLE, tmp_path) as run:
        run.run()
        with pytest.raises(RunError, match=f"^{tmp_path} is in use by another process: .*another directory"):
            make_run(IDLE, tmp_path, resume=True)
    make_run(IDLE, tmp_path, resume=True).close()


def test_default_directories_of_one_second_differ(tmp_path):
    path = tmp_path / "2026-01-01-120000"
    with new_directory(path) as first, new_directory(path) as second, new_directory(path) as third:
        assert len({first, second, third}) == 3
        for each in (first, second, third):
            (each / "run.json").write_text("{}")
    assert len(list(tmp_path.iterdir())) == 3


def test_two_runs_started_at_once_have_a_directory_each(tmp_path):
    """`for s in 1 2; do run_dino.py train --seed $s & done`"""
    running = [
        subprocess.Popen(
            [sys.executable, ROOT / "run_dino.py", *map(str, cartpole(None, "--steps", 400, "--seed", seed))],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for process in running:
        out, err = process.communicate(timeout=250)
        assert (process.returncode, err) == (0, ""), out
    seeds = [
        json.loads(path.read_text())["settings"]["run"]["seed"] for path in tmp_path.glob("runs/*/run.json")
    ]
    assert sorted(seeds) == [1, 2]


def test_what_a_killed_process_left_is_removed_by_the_next(worlds, tmp_path):
    train(changed(IDLE, run={"steps": 90}), tmp_path)
    before = set(files_below(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for left in ("checkpoint.part", "checkpoint.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "state.json").write_text("{}")
    for left in (f"part-{dead.pid}-best.h5", f"videos/part-{dead.pid}-a.mp4"):
        (tmp_path / left).parent.mkdir(exist_ok=True)
        (tmp_path / left).write_text("half")
    alive = tmp_path / f"part-{os.getpid()}-plot.png"
    others = tmp_path / "part-of-my-thesis.txt"
    for kept in (alive, others):
        kept.write_text("kept")
    temporary = Path(tempfile.gettempdir()) / f"dino-rl-{dead.pid}-abc"
    temporary.mkdir()
    train(changed(IDLE, run={"steps": 120}), tmp_path, resume=True)
    after = {name for name in files_below(tmp_path) if not name.startswith("events.")}  # a new one each time
    assert after == {name for name in before if not name.startswith("events.")} | {
        *(alive.name, others.name, "videos")
    }
    assert not temporary.exists()


def test_nothing_is_removed_beside_a_file_of_the_users(tmp_path):
    (tmp_path / "part-1-of-2.txt").write_text("mine")
    (tmp_path / "part-99999999-of-2.txt").write_text("mine")
    write_text(tmp_path / "e.json", "{}")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_device_is_not_replaced_by_a_file(path):
    with pytest.raises(RunError, match=f"Cannot write {path}"):
        check_writable(Path(path))
    with pytest.raises(RunError, match=f"Cannot write {path}"):
        write_text(Path(path), "text")
    assert Path("/dev/null").is_char_device()


# --- Environments that fail ------------------------------------------------------------------------------


class Fragile(Numbers):
    """Games whose browser dies after so many steps; 0: never."""

    def __init__(self, num_envs: int, life: int):
        super().__init__(num_envs)
        self.life, self.steps = life, 0
        self.closings = 0

    def step(self, actions):
        self.steps += 1
        if self.steps == self.life:
            raise BrowserError("The browser stopped answering.")
        return super().step(actions)

    def close(self, **_):
        self.closings += 1


def fragile(*lives: tuple[int, int]) -> tuple[Callable, list[Fragile]]:
    """Pairs of environments that live for so many steps, in turn; then pairs that stay alive."""
    made: list[Fragile] = []

    def make():
        for life in lives[len(made) // 2] if len(made) // 2 < len(lives) else (0, 0):
            made.append(Fragile(2, life))
            yield made[-1]

    return make, made


def test_games_that_ended_before_a_fault_count_and_the_others_are_played_again():
    make, made = fragile((0, 9), (0, 5), (0, 1))  # the others may have played all of their games by then
    ended, seen = [], []
    with ReplaceableEnvs(make, lambda error: seen.append(str(error))) as envs:
        evaluation = envs.play(by_seed, range(20), ended.append)
    assert evaluation.episodes == [expected_game(seed) for seed in range(20)]
    assert sorted(game.seed for game in ended) == list(range(20))  # none twice
    assert seen == ["The browser stopped answering."] * 3
    assert len(made) == 8
    assert all(env.closings for env in made)
    for env, parity in zip(made, (0, 1) * 4, strict=True):  # a seed stays with its kind of environment
        assert {seed % 2 for seed in env.started if seed} <= {parity}


def test_a_game_in_turn_is_played_again_and_seeds_go_on():
    made: list[Fragile] = []

    def make():
        made.append(Fragile(1, (7, 1, 12, 0)[len(made)]))
        yield made[-1]

    wrapped = []
    with ReplaceableEnvs(make) as envs:
        evaluation = envs.play_in_turn(by_seed, iter(range(10)), wrap=lambda env: wrapped.append(env) or env)
    assert evaluation.episodes == [expected_game(seed) for seed in range(10)]
    assert wrapped == made
    assert len(made) == 4
    for before, after in itertools.pairwise(made):
        assert after.started[0] == before.started[-1]


def test_games_that_fail_again_and_again_end_with_the_reason():
    make, made = fragile(*[(1, 1)] * 20)
    seen = []
    with ReplaceableEnvs(make, seen.append) as envs, pytest.raises(BrowserError, match="without progress"):
        envs.play(by_seed, range(20))
    assert len(seen) == MAX_FAULTS
    assert len(made) == 2 * (MAX_FAULTS + 1)
    assert all(env.closings for env in made)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_long_game_goes_on_where_it_failed(repeatable):
    """If equal seeds and actions give equal games: its actions are taken again, and the agent decides each
    step once. Else no attempt would be sure to come further than the one before."""

    class Long(Fragile):
        length = staticmethod(lambda seed: 100)

    made: list[Long] = []

    def make():
        made.append(Long(2, 9 * (len(made) + 1)))
        yield made[-1]

    decisions, seen = [], []

    def policy(observations: np.ndarray) -> np.ndarray:
        decisions.append(len(made))
        return by_seed(observations)

    with ReplaceableEnvs(make, seen.append, repeatable=repeatable) as envs:
        if not repeatable:
            with pytest.raises(BrowserError, match="without progress"):
                envs.play(policy, [4, 5])
            return
        evaluation = envs.play(policy, [4, 5])
    assert [(game.seed, game.length, set(game.actions)) for game in evaluation.episodes] == [
        (4, 100, {1}),
        (5, 100, {2}),
    ]
    assert len(seen) > MAX_FAULTS
    assert len(decisions) == 100


def test_environments_that_die_while_they_start_are_started_once_more():
    attempts = []

    def make():
        attempts.append(None)
        if len(attempts) < 2:
            raise BrowserError("It did not start.")
        yield Fragile(2, 0)

    with ReplaceableEnvs(make) as envs:
        assert len(envs.envs) == 1

    def never():
        attempts.append(None)
        raise BrowserError("It did not start.")

    attempts.clear()
    with pytest.raises(BrowserError):
        ReplaceableEnvs(never)
    assert len(attempts) == 2


def test_environments_that_have_worked_are_tried_more_often():
    attempts, seen = [], []

    def make():
        attempts.append(None)
        if len(attempts) <= MAX_FAULTS:
            raise BrowserError("It did not start.")
        yield Fragile(2, 0)

    with ReplaceableEnvs(make, seen.append, has_worked=True) as envs:
        assert len(envs.envs) == 1
    assert len(seen) == MAX_FAULTS


def test_a_missing_browser_is_not_looked_for_again():
    attempts = []

    def make():
        attempts.append(None)
        raise NoBrowserError("No Chrome or Chromium found.")

    with pytest.raises(NoBrowserError, match=r"^No Chrome or Chromium found\.$"):
        ReplaceableEnvs(make)
    assert len(attempts) == 1


def test_progress_forgets_the_faults_before():
    count = FaultCount()
    for _ in range(10):
        for _ in range(MAX_FAULTS):
            count.add(EnvError("gone"))
        count.progress()
    for _ in range(MAX_FAULTS):
        count.add(EnvError("gone"))
    with pytest.raises(EnvError):
        count.add(EnvError("gone"))


def test_each_fault_is_a_line_on_the_terminal_and_a_row_in_the_log(worlds, tmp_path, capsys):
    from dino_rl.cli.training_view import TrainingView

    worlds.options = [{"fail_at": (50,)}, {"fail_at": (30,)}]
    run = train(IDLE, tmp_path, (TrainingView(),))
    table = rows(tmp_path / "faults.csv")
    assert [(row["kind"], row["message"]) for row in table] == [
        ("training", "The browser stopped answering.")
    ] * 2
    assert [int(row["step"]) for row in table] == [49 * 3, (49 + 29) * 3]
    assert all(time.strptime(row["time"], "%Y-%m-%d %H:%M:%S") for row in table)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Starting again" in line]
    assert len(lines) == 2
    assert "training: The browser stopped answering." in lines[0]
    assert run.step == 600
    train(changed(IDLE, run={"steps": 700}), tmp_path, resume=True)
    assert rows(tmp_path / "faults.csv") == table


def test_a_run_without_faults_has_no_table_of_them(worlds, tmp_path):
    train(changed(IDLE, run={"steps": 90}), tmp_path)
    assert not (tmp_path / "faults.csv").exists()


def test_a_browser_that_dies_while_the_run_starts(worlds, tmp_path, monkeypatch):
    make, attempts = worlds._make, []

    def die_first(task):
        attempts.append(None)
        if len(attempts) == 1:
            raise BrowserError("The browser did not start.")
        return make(task)

    monkeypatch.setattr(worlds, "_make", die_first)
    assert train(IDLE, tmp_path).step == 600
    (row,) = rows(tmp_path / "faults.csv")
    assert (row["step"], row["message"]) == ("0", "The browser did not start.")


def test_a_validation_survives_its_browser(worlds, tmp_path, monkeypatch):
    judge, failed = worlds._judge, []

    def dying(num_envs, max_score):
        judges = judge(num_envs, max_score)
        if len(failed) < 2:
            failed.append(None)

            def die(actions):
                raise BrowserError("The browser stopped answering.")

            judges[0].step = die
        return judges

    monkeypatch.setattr(worlds, "_judge", dying)
    train(IDLE, tmp_path)
    assert len(rows(tmp_path / "validations.csv")) == 3
    assert [row["kind"] for row in rows(tmp_path / "faults.csv")] == ["validation"] * 2
    assert all(judges.closed_by_us for judges in worlds.judges)


def test_a_validation_that_fails_for_good_saves_first(worlds, tmp_path, monkeypatch):
    def never(num_envs, max_score):
        raise BrowserError("The browser did not start.")

    monkeypatch.setattr(worlds, "_judge", never)
    with make_run(IDLE, tmp_path) as run, pytest.raises(BrowserError):
        run.run()
    assert checkpoint.load_state(tmp_path)["step"] == run.step > 0


# --- Numbers that are not finite -------------------------------------------------------------------------


class Poisoned(World):
    """A world that goes wrong at a step."""

    poison: tuple[str, float] = ("reward", np.nan)

    def step(self, actions):
        observation, reward, *rest = super().step(actions)
        if self.steps == 70:
            kind, value = self.poison
            (reward if kind == "reward" else observation)[1] = value
        return observation, reward, *rest


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("kind", ["reward", "observation"])
def test_a_number_that_cannot_be_learned_from_ends_the_run(kind, value, worlds, tmp_path, monkeypatch):
    if kind == "observation" and value == 1e300:
        pytest.skip("observations are float32, in which it is infinite")
    monkeypatch.setattr(Poisoned, "poison", (kind, value))
    monkeypatch.setattr(worlds, "_make", lambda task: Poisoned(task.config.num_envs))
    with (
        make_run(LOGIC, tmp_path) as run,
        pytest.raises(NotFiniteError, match=f"^The {kind} of environment 1"),
    ):
        run.run()
    assert run.step == 69 * 3
    assert checkpoint.load_state(tmp_path)["step"] == run.step  # of the last good state
    assert all(np.isfinite(array).all() for array in run.algorithm.agent.network.get_weights())
    assert all(np.isfinite(array).all() for array in run.algorithm.agent.arrays().values())


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_checkpoint(worlds, tmp_path):
    with make_run(LOGIC, tmp_path) as run:
        stop_at(run, worlds.made[0], 40)
        run.run()
    before = files_below(tmp_path / "checkpoint")
    wild = changed(LOGIC, dqn={"learning_rate": 1e30, "learning_rate_end": 1e30})
    with make_run(wild, tmp_path, resume=True) as run, pytest.raises(NotFiniteError, match=r"^The loss is "):
        run.run()
    assert files_below(tmp_path / "checkpoint") == before
    assert not (tmp_path / "best.h5").exists()


def test_weights_that_are_not_finite_replace_nothing(worlds, tmp_path):
    with make_run(LOGIC, tmp_path) as run:
        stop_at(run, worlds.made[0], 120)
        run.run()
        before = files_below(tmp_path)
        network = run.algorithm.agent.network
        network.set_weights([np.full_like(array, np.nan) for array in network.get_weights()])
        with pytest.raises(NotFiniteError, match="not finite"):
            callback_of(run, Checkpoints).save(run)
        with pytest.raises(NotFiniteError, match="not finite"):
            callback_of(run, KeepBest).on_validation(run, dict.fromkeys(("best", *KEPT), 1))
    assert files_below(tmp_path) == before


KEPT = ("step", "minutes", "mean", "median", "max", "min", "capped", "games")


@pytest.mark.parametrize("algo", ["dqn", "cem"])
def test_learning_that_diverges_is_one_line(algo, cli, tmp_path):
    arguments = ("train", "--env", "CartPole-v1", "--algo", algo, "--run-dir", tmp_path / "run")
    refused(cli(*arguments, "--learning-rate", "1e30"), "--learning-rate", "'1e30'")
    assert files_below(tmp_path) == {}
    wild = ("--set", f"{algo}.learning_rate=1e38", "--set", "run.validations=0")
    result = cli(*arguments, "--steps", 30_000, *wild)
    refused(result, "lower the learning rate")
    assert "best.h5" not in result[1]
    assert not (tmp_path / "run" / "best.h5").exists()


def test_scores_that_are_not_finite_are_no_evaluation():
    class Broken(Numbers):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            return observation, reward * np.nan, *rest

    with ReplaceableEnvs(lambda: [Broken(2)]) as envs, pytest.raises(NotFiniteError, match="The reward of"):
        envs.play(by_seed, range(4))


def test_a_run_without_a_validation_announces_no_model(cli, tmp_path):
    code, out, err = cli(*cartpole(tmp_path / "run", "--steps", 200, "--set", "run.validations=0"))
    assert (code, err) == (0, "")
    assert "No model was saved" in out
    assert "best.h5" not in out


# --- Disks -----------------------------------------------------------------------------------------------


def small_files(max_bytes: int) -> Callable[[], None]:
    """For a process whose files cannot grow beyond a size, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))


def run_process(*arguments, **options) -> subprocess.CompletedProcess:
    """The command line in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run_dino.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


VECTORS = ("--env", "CartPole-v1", "--set", "run.stop_return=null", "--set", "run.validations=2")


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path):
    run_dir = tmp_path / "run"
    arguments = ("train", *VECTORS, "--steps", 6000, "--run-dir", run_dir)
    done = run_process(*arguments, preexec_fn=small_files(60_000))
    line = one_line(done.stderr)
    assert done.returncode == 2
    assert "Cannot write" in line
    assert "(File too large)" in line
    assert not [name for name in files_below(run_dir) if "part" in name]
    resumed = run_process("train", "--resume", run_dir, "--steps", 7000)
    if (run_dir / "checkpoint").exists():
        assert (resumed.returncode, resumed.stderr) == (0, "")


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    run_dir = tmp_path / "run"
    assert run_process("train", *VECTORS, "--steps", 3000, "--run-dir", run_dir).returncode == 0
    before = files_below(run_dir / "checkpoint")
    best, step = (run_dir / "best.h5").read_bytes(), checkpoint.load_state(run_dir)["step"]
    size = max(len(content) for content in before.values())
    done = run_process("train", "--resume", run_dir, "--steps", 6000, preexec_fn=small_files(size))
    line = one_line(done.stderr)
    assert done.returncode == 2
    assert f"Cannot write {run_dir}" in line
    assert f"The checkpoint of step {step:,} is whole: python run_dino.py train --resume {run_dir}" in line
    assert files_below(run_dir / "checkpoint") == before
    assert (run_dir / "best.h5").read_bytes() == best
    done = run_process("train", "--resume", run_dir, "--steps", 6000)
    assert (done.returncode, done.stderr) == (0, "")
    assert checkpoint.load_state(run_dir)["step"] >= 6000


def test_output_to_a_full_disk():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "run_dino.py"), "presets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "No space left on device" in one_line(done.stderr)


def test_a_run_directory_that_is_deleted_while_the_run_goes_on(worlds, tmp_path):
    run_dir = tmp_path / "run"

    class Delete(Callback):
        def on_episode(self, run, row):
            shutil.rmtree(run_dir, ignore_errors=True)

    with make_run(IDLE, run_dir, [Delete()]) as run, pytest.raises(RunError, match="Cannot write") as caught:
        run.run()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(cli, tmp_path):
    tmp_path.chmod(0o500)
    refused(cli(*cartpole(tmp_path / "run", "--steps", 100)), "Permission denied")
    tmp_path.chmod(0o700)


def test_a_file_name_that_no_file_can_have(cli, tmp_path):
    refused(cli(*cartpole(tmp_path / ("x" * 300), "--steps", 100)), "Cannot write", "too long")


# --- Saving ----------------------------------------------------------------------------------------------


def test_checkpoints_that_take_long_are_rarer(tmp_path, monkeypatch):
    class Slow:
        step, seconds = 0, 0.0

        class algorithm:
            saved = 0

            @classmethod
            def save(cls, run_dir, state):
                cls.saved += 1
                time.sleep(0.05)

        def state(self):
            return {}

    run = Slow()
    saving = Checkpoints(tmp_path, RunConfig(checkpoint_minutes=0.1 / 60))
    saving.on_start(run)
    for tenth in range(100):
        run.seconds = tenth / 10
        saving.on_slice(run, None)
    expected = 10 / (0.05 / SAVING_SHARE)
    assert run.algorithm.saved == pytest.approx(expected, abs=3)


def test_a_crash_in_minute_three_loses_less_than_three_minutes():
    from dino_rl.presets import recipes

    assert RunConfig().checkpoint_minutes < 3
    assert {config.run.checkpoint_minutes for config in recipes().values()} == {2.0}


# --- Signals and terminals -------------------------------------------------------------------------------


@pytest.fixture
def ignored_hangup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_signal_that_is_ignored_stays_ignored(ignored_hangup):
    class Going:
        stopped = False

    assert signal.SIGHUP not in handled("SIGHUP", "SIGTERM")
    with stop_on_signals(Going()) as _:
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_nohup(tmp_path):
    """`nohup run_dino.py train ... &`, and the terminal is closed."""
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_dino.py"), *map(str, cartpole(run_dir, "--steps", 20_000))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(lambda: (run_dir / "episodes.csv").exists(), process)
    process.send_signal(signal.SIGHUP)
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    assert checkpoint.load_state(run_dir)["step"] >= 20_000


ENDS_WITH = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 130}


@pytest.mark.parametrize("number", ENDS_WITH)
def test_a_signal_saves_and_ends_the_run(number, tmp_path):
    run_dir = tmp_path / "run"
    process = command(*cartpole(run_dir, "--steps", 10**7))
    episodes = run_dir / "episodes.csv"
    wait_for(lambda: episodes.exists() and len(episodes.read_text().splitlines()) > 1, process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert (code, err) == (ENDS_WITH[number], "")
    assert f"train --resume {run_dir}" in out
    assert checkpoint.load_state(run_dir)["step"] > 0


def test_a_stopped_trainer_continues(tmp_path):
    """Ctrl-Z, then fg."""
    run_dir = tmp_path / "run"
    process = command(*cartpole(run_dir, "--steps", 20_000))
    wait_for(lambda: (run_dir / "episodes.csv").exists(), process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    assert checkpoint.load_state(run_dir)["step"] >= 20_000


def test_a_reader_that_goes_away_stops_the_run_and_it_is_saved(tmp_path):
    """`run_dino.py train ... | head -2`"""
    run_dir = tmp_path / "run"
    process = command(*cartpole(run_dir, "--steps", 10**7))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 130
    assert process.stderr.read() == ""
    state = checkpoint.load_state(run_dir)
    assert 0 < state["step"] < 10**7
    assert state["episodes"] == len(rows(run_dir / "episodes.csv"))


TERMINALS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LANG": "C"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "narrow": {"COLUMNS": "20", "LINES": "5"},
    "no colour": {"NO_COLOR": "1", "TERM": "dumb"},
    "forced terminal": {"FORCE_COLOR": "1", "COLUMNS": "20"},
}


@pytest.mark.parametrize("kind", TERMINALS)
def test_terminals_of_all_kinds(kind, tmp_path):
    if kind == "C" and not sys.prefix.isascii():
        pytest.skip("TensorFlow itself cannot be loaded: test_a_path_that_tensorflow_cannot_read")
    environment = {**os.environ, **TERMINALS[kind]}
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "run_dino.py")),
            *map(str, cartpole(tmp_path / "run", "--steps", 5000, "--set", "cem.sessions=20")),
        ],
        capture_output=True,
        env=environment,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"iteration" in done.stdout
    if kind in ("cp1252", "ascii", "C"):
        assert b"\xe2\x96" not in done.stdout  # the bars of UTF-8
        assert b"@" in done.stdout


def test_a_path_that_tensorflow_cannot_read(tmp_path):
    """Its packages lie in a directory with a letter that the locale lacks, and UTF-8 mode is off."""
    packages = tmp_path / "\xfc"
    packages.symlink_to(Path(find_spec("tensorflow").origin).parents[1])
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_dino.py"), *map(str, cartpole(tmp_path / "run", "--steps", 3000))],
        capture_output=True,
        text=True,
        env={**os.environ, **TERMINALS["C"], "PYTHONPATH": str(packages)},
        timeout=120,
    )
    assert done.returncode == 2
    assert "set PYTHONUTF8=1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_standard_streams(closed, tmp_path):
    """`run_dino.py train >&-`"""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_dino.py"), *map(str, cartpole(tmp_path / "run", "--steps", 3000))],
        preexec_fn=lambda: [os.close(descriptor) for descriptor in closed],
        stdout=None if 1 in closed else subprocess.DEVNULL,
        stderr=None if 2 in closed else subprocess.PIPE,
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert not err
    assert checkpoint.load_state(tmp_path / "run")["step"] >= 3000
    first = (tmp_path / "run" / "episodes.csv").read_text().splitlines()[0]
    assert first.startswith("episode,step")


def test_names_with_brackets_are_names(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "[/bold] $x^$ [red]"
    code, out, err = cli(*cartpole(Path(name), "--steps", 3000))
    assert (code, err) == (0, "")
    assert name in out


def test_bars_are_letters_where_the_terminal_has_no_bars(monkeypatch):
    monkeypatch.setattr(terminal, "_can_show", lambda text: False)
    bars, low, high = terminal.histogram([1.0, 2.0, 2.0, 3.0])
    assert (low, high) == (1.0, 3.0)
    assert bars.isascii()
    assert "@" in bars


# --- Input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "play", "evaluate", "record"])
def test_seeds_have_a_limit(name, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(cli(name, "--seed", 2**32), "--seed", "4294967296")
    assert files_below(tmp_path) == {}


def test_a_seed_of_a_configuration_has_a_limit(cli, tmp_path):
    arguments = cartpole(tmp_path / "run", "--steps", 100, "--set", f"run.seed={2**32}")
    refused(cli(*arguments), "run.seed", "4294967296")
    code, _, err = cli(*cartpole(tmp_path / "run", "--steps", 100, "--seed", 2**32 - 1))
    assert (code, err) == (0, "")


def test_a_seed_of_a_game_does_not_wrap():
    from dino_rl.envs.dino.episodes import Episodes
    from dino_rl.envs.dino.options import DinoOptions
    from dino_rl.envs.dino.variation import GameVariation

    episodes = Episodes(1, GameVariation(), DinoOptions())
    rng = np.random.default_rng(0)
    assert episodes.next_game(0, rng, 2**32 - 1)[0] == 2**32 - 1
    for seed in (2**32, -1):
        with pytest.raises(DinoError, match=f"The seed {seed} is out of range"):
            episodes.next_game(0, rng, seed)


class Plain(gymnasium.Env):
    """An environment that is never shown: `__init__` takes nothing."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, bool(self.np_random.random() < 0.1), False, {}


@pytest.fixture
def plain_environment():
    gymnasium.register("Plain-v0", f"{__name__}:Plain")
    yield "Plain-v0"
    del gymnasium.registry["Plain-v0"]


def test_an_environment_that_takes_no_render_mode(plain_environment, tmp_path):
    config = changed(
        default_for(plain_environment, "cem"), run={"steps": 300, "minutes": None, "validations": 1}
    )
    assert train(config, tmp_path).step >= 300
    with pytest.raises(DinoError, match="Plain-v0 cannot be shown: it takes no render_mode"):
        GymTask(GymConfig(plain_environment)).make_single_env(PlayOptions(), record=True)


def test_a_replay_memory_that_does_not_fit_is_refused_at_once(cli, tmp_path):
    capacity = "dqn.replay.capacity=100000000000"
    for more in ((), ("--set", "dqn.replay.compressed=true")):
        result = cli("train", "--steps", 100, "--run-dir", tmp_path / "run", "--set", capacity, *more)
        refused(result, "replay memory of 100,000,000,000 frames needs", "GB are available", "capacity")
    refused(
        cli(*cartpole(tmp_path / "run", "--set", f"cem.hidden_units={[8192] * 32}")), "networks need"
    ) if machine.available_bytes() < 20 * 8192**2 * 32 else None
    assert files_below(tmp_path) == {}


def test_a_long_name_does_not_make_a_long_error():
    with pytest.raises(DinoError) as caught:
        spec_of("9" * 5_000)
    text = str(caught.value)
    assert len(text) <= DinoError.LONGEST
    assert text.startswith("Unknown environment '999")
    assert text.endswith(")")  # of what Gymnasium says of it


def test_memory_of_a_container_counts(tmp_path, monkeypatch):
    for name, text in {
        "memory.max": "1000000000",
        "memory.current": "900000000",
        "memory.stat": "anon 5\ninactive_file 300000000\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.available_bytes() == 400_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_bytes() > 400_000_000


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize(
    ("torso", "shape"),
    [
        ("dense", (4,)),
        *(
            (torso, (side, side, 4))
            for torso in ("tutorial", "compact", "nature", "wide")
            for side in (80, 84)
        ),
    ],
)
def test_weights_are_counted_without_a_network(torso, shape, dueling):
    config = NetworkConfig(torso=torso, dueling=dueling)
    network = build_q_network(config, shape, 3)
    assert count_weights(config, shape, 3) == network.count_params()


# --- Temporary directories -------------------------------------------------------------------------------


def test_a_workspace_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = Workspace()
    (mine.path / "profile").mkdir()
    (mine.path / "profile" / "file").write_text("x")
    assert mine.path.name.startswith(f"dino-rl-{os.getpid()}-")
    assert mine.environment()["TMPDIR"] == str(mine.path)
    mine.remove()
    mine.remove()
    assert not mine.path.exists()


def test_an_abandoned_workspace_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    abandoned, elsewhere = tmp_path / f"dino-rl-{dead.pid}-abc", tmp_path / f"dino-rl-{dead.pid}-def"
    kept = [tmp_path / "dino-rl-notes", tmp_path / f"dino-rl-{os.getpid()}-abc", elsewhere]
    for path in (abandoned, *kept):
        path.mkdir()
    lock = workspace.DirectoryLock(elsewhere)  # of a process in another container
    mine = Workspace()
    assert not abandoned.exists()
    assert all(path.exists() for path in kept)
    lock.release()
    Workspace().remove()
    assert not elsewhere.exists()
    mine.remove()


def test_a_long_temporary_path_is_no_place_for_a_socket(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    mine = Workspace()
    assert len(str(mine.path)) <= workspace.MAX_PATH
    mine.remove()
    assert not list(deep.iterdir())


# --- The real browser ------------------------------------------------------------------------------------


def profiles() -> set[Path]:
    """Temporary directories of browsers."""
    return set(Path(tempfile.gettempdir()).glob("dino-rl-*"))


def kill(process: psutil.Process, number: int = signal.SIGKILL):
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


@browser
def test_a_closed_browser_leaves_no_temporary_file(no_new_browsers):
    before = profiles()
    with chrome.Browser() as opened:
        (mine,) = profiles() - before
        assert opened.script("return 1 + 1") == 2
        assert any(
            str(mine) in " ".join(each.cmdline()) for each in psutil.Process(opened.pid).children(True)
        )
    assert profiles() == before


@browser
def test_a_killed_owner_leaves_nothing(no_new_browsers):
    before, running = profiles(), {process.pid for process in browser_processes()}
    code = "from dino_rl.browser.chrome import Browser; b = Browser(); print('up', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    assert profiles() > before
    process.kill()
    process.communicate()
    assert not still_running([each for each in browser_processes() if each.pid not in running])
    deadline = time.monotonic() + 5
    while profiles() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert profiles() == before


@browser
def test_a_killed_owner_and_watchdog_are_cleaned_up_after(no_new_browsers):
    """The next start of a browser removes what they left."""
    code = "from dino_rl.workspace import Workspace; w = Workspace(); print(w.path, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": tempfile.gettempdir()},
    )
    left = Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()
    assert left.exists()
    with chrome.Browser():
        assert not left.exists()


@browser
@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_loopback_needs_no_proxy(proxy, monkeypatch, no_new_browsers):
    from dino_rl.envs import DinoEnv

    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    for clock in ("lockstep", "live"):
        env = DinoEnv(clock)
        env.reset(seed=1)
        env.step(0)
        env.close()


def targets(pid: int) -> dict[str, list[psutil.Process]]:
    """The processes of a browser by what they are. There is more than one renderer: not all show the page."""
    found = {"driver": [psutil.Process(pid)]}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.setdefault(kind_of(process), []).append(process)
    return found


def kind_of(process: psutil.Process) -> str:
    """What a process of a browser is."""
    line = " ".join(process.cmdline())
    if "chromedriver" in process.name():
        return "driver"
    if "crashpad" in process.name():
        return "crashpad"
    return line.partition("--type=")[2].partition(" ")[0] or "browser"


def kill_all(pid: int, target: str, number: int = signal.SIGKILL) -> list[psutil.Process]:
    """Send a signal to a browser's processes of a kind; the outermost first."""
    processes = targets(pid)[target]
    for process in processes[: None if target == "renderer" else 1]:
        kill(process, number)
    return processes


@browser
@pytest.mark.parametrize("clock", ["lockstep", "live"])
@pytest.mark.parametrize("target", ["driver", "browser", "renderer"])
def test_a_killed_process_under_one_game_is_one_line(target, clock, no_new_browsers):
    from dino_rl.envs import DinoEnv

    env = DinoEnv(clock)
    env.reset(seed=1)
    kill_all(env.game.browser.pid, target)
    started = time.monotonic()
    try:
        with pytest.raises(BrowserError, match=r"^The browser stopped answering") as caught:  # noqa: PT012
            for _ in range(300):
                env.step(0)
                env.reset(seed=1)
    finally:
        env.close()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60


@browser
@pytest.mark.parametrize("target", ["driver", "browser", "renderer"])
def test_a_process_that_hangs_is_given_up(target, monkeypatch, no_new_browsers):
    from dino_rl.browser import channels
    from dino_rl.envs import DinoEnv, DinoVectorEnv

    # Short, and long enough for a browser to start in on a busy machine.
    monkeypatch.setattr(channels, "ANSWER_TIMEOUT_S", 5)
    monkeypatch.setattr(driver, "ANSWER_TIMEOUT_S", 20)
    monkeypatch.setattr(driver, "PAGE_TIMEOUT_S", 15)
    before = profiles()
    for env in (DinoEnv(), DinoVectorEnv(2)):
        env.reset(seed=1)
        game = env.game if isinstance(env, DinoEnv) else env.arena
        stopped = kill_all(game.browser.pid, target, signal.SIGSTOP)
        started = time.monotonic()
        try:
            if target != "renderer" and isinstance(env, DinoVectorEnv):  # a step does not go through it
                env.step(np.zeros(2, int))
            else:
                with pytest.raises(BrowserError, match=r"^The browser stopped answering"):
                    env.step(0 if isinstance(env, DinoEnv) else np.zeros(2, int))
        finally:
            env.close()
        assert time.monotonic() - started < 60
        assert not still_running(stopped)
    assert profiles() == before


@browser
def test_a_page_that_stops_answering_is_given_up(monkeypatch, no_new_browsers):
    from dino_rl.browser import Game

    monkeypatch.setattr(driver, "ANSWER_TIMEOUT_S", 10)  # the driver cannot interrupt a script
    with Game() as game, pytest.raises(BrowserError, match=r"^The browser stopped answering"):
        game.browser.script("while (true) {}")


@browser
def test_a_socket_that_is_cut(no_new_browsers):
    from dino_rl.browser import Arena

    with Arena(2) as arena:
        arena._channel._socket.shutdown(2)
        with pytest.raises(BrowserError, match=r"^The browser stopped answering"):
            arena.step(np.zeros(2, int), 1)


def use_driver(script: str, tmp_path: Path, monkeypatch):
    """Let this shell script be the driver. It is not asked for its version."""
    program = tmp_path / "chromedriver"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("SE_CHROMEDRIVER", str(program))


PORT_TAKEN = 'echo "IPv4 port not available. Exiting..."; exit 1'


@browser
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sleep 60", "did not start within 1 s"),
        ("echo ChromeDriver was started successfully on port 9. ; sleep 60", "did not start"),
        ("echo this is no driver; exit 3", "ended at its start: this is no driver"),
    ],
)
def test_a_driver_that_does_not_start(script, words, tmp_path, monkeypatch, no_new_browsers):
    use_driver(script, tmp_path, monkeypatch)
    monkeypatch.setattr(driver, "START_TIMEOUT_S", 1)
    before = profiles()
    with pytest.raises(BrowserError, match=words) as caught:
        chrome.Browser()
    assert "\n" not in str(caught.value)
    assert profiles() == before


@browser
def test_a_driver_whose_port_was_taken_starts_again(tmp_path, monkeypatch, no_new_browsers):
    """The driver picks a port that is free for IPv6; now and then, another program has it for IPv4."""
    taken = tmp_path / "taken"
    script = f'[ -e {taken} ] && exec {chrome.find_driver()} "$@"\ntouch {taken}\n{PORT_TAKEN}'
    use_driver(script, tmp_path, monkeypatch)
    before = profiles()
    with chrome.Browser() as started:
        assert started.version
        assert taken.exists()
    assert profiles() == before


@browser
def test_a_driver_whose_port_is_always_taken(tmp_path, monkeypatch, no_new_browsers):
    tries = tmp_path / "tries"
    use_driver(f"echo >> {tries}\n{PORT_TAKEN}", tmp_path, monkeypatch)
    with pytest.raises(BrowserError, match=r"ended at its start: IPv4 port not available"):
        chrome.Browser()
    assert len(tries.read_text().splitlines()) == driver.START_TRIES


@browser
def test_an_evaluation_goes_on_with_another_browser(model_file, cli, tmp_path, monkeypatch, no_new_browsers):
    from dino_rl.browser import Arena

    def scores(name: str) -> list[float]:
        path = tmp_path / name
        arguments = ("--games", 6, "--num-envs", 2, "--max-score", 60, "--json", path)
        code, out, err = cli("evaluate", "--model", model_file, *arguments)
        assert (code, err) == (0, "")
        said.append(out)
        return json.loads(path.read_text())["scores"]

    said: list[str] = []
    undisturbed = scores("a.json")
    step, steps = Arena.step, []

    def kill_now_and_then(arena, *arguments, **named):
        steps.append(None)
        if len(steps) in (10, 150):
            kill_all(arena.browser.pid, "browser" if len(steps) == 10 else "renderer")
        return step(arena, *arguments, **named)

    monkeypatch.setattr(Arena, "step", kill_now_and_then)
    assert scores("b.json") == undisturbed
    assert said[1].count("Starting again") == 2


@browser
def test_a_live_evaluation_goes_on_with_another_browser(
    model_file, cli, tmp_path, monkeypatch, no_new_browsers
):
    from dino_rl.browser import Game

    step, steps = Game.step, []

    def kill_once(game, *arguments):
        steps.append(None)
        if len(steps) == 20:
            kill_all(game.browser.pid, "driver")
        return step(game, *arguments)

    monkeypatch.setattr(Game, "step", kill_once)
    games = ("--clock", "live", "--no-in-page", "--games", 2, "--max-score", 60)
    arguments = (*games, "--json", tmp_path / "e.json")
    code, out, err = cli("evaluate", "--model", model_file, *arguments)
    assert (code, err) == (0, ""), out
    assert len(json.loads((tmp_path / "e.json").read_text())["scores"]) == 2


@browser
def test_play_goes_on_with_another_browser(model_file, cli, monkeypatch, no_new_browsers):
    from dino_rl.browser import Game

    step, steps = Game.step, []

    def kill_once(game, *arguments):
        steps.append(None)
        if len(steps) == 20:
            kill_all(game.browser.pid, "browser")
        return step(game, *arguments)

    monkeypatch.setattr(Game, "step", kill_once)
    arguments = ("--clock", "lockstep", "--headless", "--games", 2, "--max-score", 30)
    code, out, err = cli("play", "--model", model_file, *arguments)
    assert (code, err) == (0, "")
    assert "Starting again" in out
    assert out.count("at 3") == 2


@browser
def test_a_window_that_crashes_is_opened_again_and_one_that_is_closed_is_not(
    model_file, cli, monkeypatch, unseen_window, no_new_browsers
):
    from dino_rl.browser import Game

    step, steps = Game.step, []

    def break_twice(game, *arguments):
        steps.append(None)
        if len(steps) == 20:
            kill_all(game.browser.pid, "browser")
        if len(steps) == 60:
            with contextlib.suppress(BrowserError):
                game.browser.cdp("Browser.close", {})  # as by the window's button
        return step(game, *arguments)

    monkeypatch.setattr(Game, "step", break_twice)
    code, out, err = cli("play", "--model", model_file, "--clock", "lockstep", "--games", 50)
    assert (code, err) == (0, "")
    assert out.count("Starting again") == 1
    assert "The window was closed." in out


@browser
def test_a_recording_goes_on_with_another_browser(model_file, cli, tmp_path, monkeypatch, no_new_browsers):
    from dino_rl.browser import Game

    def frames(name: str) -> int:
        video = tmp_path / name
        arguments = ("--games", 2, "--max-score", 40, "--seed", 3, "--out", video)
        code, out, err = cli("record", "--model", model_file, *arguments)
        assert (code, err) == (0, ""), out
        said.append(out)
        return video_facts(video)[0]

    said: list[str] = []
    undisturbed = frames("a.mp4")
    step, steps = Game.step, []

    def kill_now_and_then(game, *arguments, **named):
        steps.append(None)
        if len(steps) in (20, 90):
            kill_all(game.browser.pid, "browser" if len(steps) == 20 else "driver")
        return step(game, *arguments, **named)

    monkeypatch.setattr(Game, "step", kill_now_and_then)
    assert frames("b.mp4") == undisturbed  # each frame once
    assert said[1].count("Starting again") == 2
    scores = [re.search("trained agent: (.*?);", text).group(1) for text in said]
    assert scores[0] == scores[1]


@browser
def test_a_game_in_the_page_is_played_again(model_file, cli, monkeypatch, no_new_browsers):
    from dino_rl.browser import Game

    observe, seen = Game.observe, []

    def kill_once(game):
        seen.append(None)
        if len(seen) == 3:
            kill_all(game.browser.pid, "browser")
        return observe(game)

    monkeypatch.setattr(Game, "observe", kill_once)
    arguments = ("--in-page", "--headless", "--games", 2, "--max-score", 20)
    code, out, err = cli("play", "--model", model_file, *arguments)
    assert (code, err) == (0, "")
    assert "Starting again" in out


@browser
def test_a_dead_browser_says_nothing_more(tmp_path, no_new_browsers):
    """No warnings of the libraries below, no messages of retries."""
    process = command("train", "--preset", "tiny-idle", "--run-dir", tmp_path, program="tests/tiny_run.py")
    known = {each.pid for each in browser_processes()}
    wait_for(lambda: (tmp_path / "episodes.csv").exists(), process, 250)
    new = [each for each in browser_processes() if each.pid not in known and "driver" in each.name()]
    kill(new[0])
    code, _, err = finish(process)
    assert (code, err) == (0, "")


# --- Again and again: minutes ----------------------------------------------------------------------------

TIMES = float(os.environ.get("DINO_RL_FAULTS", "1"))  # 3 is what docs/reliability.md reports
SEED = int(os.environ.get("DINO_RL_FAULTS_SEED", "1"))
SECONDS_EACH = 12  # from one kill of a browser process to the next, on average


def train_while_browsers_are_killed(
    run_dir: Path, program: str, arguments: tuple, patience_s: float
) -> tuple[int, int]:
    """A training run, and SIGKILL for processes of its browsers, of all kinds, at random moments: at starts,
    in games and validations, while the run saves.

    Args:
        run_dir: of the run, which must end with exit 0 and without a traceback, and log each restart.
        program, arguments: as for `command`, without `--run-dir`.
        patience_s: for the whole run. A busy machine starts browsers slowly.

    Returns:
        kills, and restarts.
    """
    before, log = profiles(), run_dir.with_name("log.txt")
    arguments += ("--run-dir", run_dir)
    rng, known = random.Random(SEED), {each.pid for each in browser_processes()}
    done, due_s, started = [], 0.0, time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / program), *map(str, arguments)], stdout=output, stderr=output
        )
    try:
        while process.poll() is None:
            due_s += rng.uniform(0, 2 * SECONDS_EACH)
            time.sleep(max(0.0, started + due_s - time.monotonic()))
            by_kind: dict[str, list[psutil.Process]] = {}
            for each in browser_processes():
                with contextlib.suppress(psutil.Error):
                    if each.pid not in known:
                        by_kind.setdefault(kind_of(each), []).append(each)
            if by_kind and process.poll() is None:
                done.append(rng.choice(sorted(by_kind)))
                kill(rng.choice(by_kind[done[-1]]))
                print(f"{time.monotonic() - started:7.1f} s  {done[-1]}", flush=True)
            assert time.monotonic() - started < patience_s, log.read_text()
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "Retry" not in said
    minutes, kinds = (time.monotonic() - started) / 60, sorted((kind, done.count(kind)) for kind in set(done))
    restarts = said.count("Starting again")
    print(f"{len(done)} kills in {minutes:.1f} minutes, {restarts} restarts: {kinds}")
    assert len(rows(run_dir / "faults.csv")) == restarts
    assert profiles() == before
    return len(done), restarts


@faults
@browser
@pytest.mark.timeout(int(1200 + 1200 * TIMES))
def test_a_run_in_which_browsers_are_killed_all_the_time(tmp_path, no_new_browsers):
    kills = round(34 * TIMES)
    minutes = kills * SECONDS_EACH / 60
    settings = {
        "run.steps": "null",
        "run.calibration_steps": 600,
        "run.validations": 40,
        "run.validation_share": 1000,
        "run.checkpoint_minutes": 0.1,
        "run.seed": SEED,
    }
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    run_dir = tmp_path / "run"
    print(f"\nseed {SEED}, {kills} kills in {minutes:.1f} minutes")
    arguments = ("train", "--preset", "tiny", "--minutes", f"{minutes:.2f}", *changes)
    done, restarts = train_while_browsers_are_killed(
        run_dir, "tests/tiny_run.py", arguments, 120 * minutes + 600
    )
    assert restarts > done / 4
    assert done > kills / 2
    assert (run_dir / "best.h5").exists()
    steps = [int(row["step"]) for row in rows(run_dir / "episodes.csv")]
    assert steps == sorted(steps)


@faults
@browser
@pytest.mark.timeout(int(1200 + 2400 * TIMES))
def test_a_run_learns_while_its_browsers_are_killed(tmp_path, no_new_browsers):
    """The default recipe. A player that has learned nothing reaches 45 points; docs/reliability.md compares
    with undisturbed runs of equally many steps."""
    run_dir, result, before = tmp_path / "run", tmp_path / "e.json", profiles()
    steps = round(65_000 * TIMES)
    print(f"\nseed {SEED}, {steps:,} steps")
    arguments = ("train", "--steps", steps, "--seed", SEED)
    _, restarts = train_while_browsers_are_killed(run_dir, "run_dino.py", arguments, 2400 * TIMES)
    assert restarts > 5
    options = ("--games", 50, "--num-envs", 50, "--seed", 1000 * SEED, "--max-score", 5000)
    evaluation = command("evaluate", "--model", run_dir / "best.h5", *options, "--json", result)
    assert finish(evaluation, 900)[0] == 0
    played = json.loads(result.read_text())
    print(f"mean {played['mean']:,.0f}, median {played['median']:,.0f}, {played['capped']} of 50 at the cap")
    assert played["mean"] > 150
    assert profiles() == before


def step_of(run_dir: Path) -> int:
    """Of its checkpoint; 0 while that is replaced."""
    try:
        return int(checkpoint.load_state(run_dir)["step"])
    except RunError:
        return 0


@faults
@pytest.mark.timeout(int(1200 + 1200 * TIMES))
def test_a_trainer_that_is_killed_again_and_again(tmp_path):
    """At random moments, also while it starts and while it saves; resumed each time."""
    rng, kills, interval_s = random.Random(SEED), round(17 * TIMES), 1.0
    run_dir = tmp_path / "run"
    start = ("train", *VECTORS, "--steps", 10**8, "--run-dir", run_dir, "--set", "run.validations=0")
    start += ("--set", f"run.checkpoint_minutes={interval_s / 60}")
    print(f"\nseed {SEED}, {kills} kills")
    step, lost = 0, []
    for number in range(kills):
        resume = (run_dir / "checkpoint").exists() or (run_dir / "checkpoint.old").exists()
        if not resume:
            shutil.rmtree(run_dir, ignore_errors=True)
        began = time.monotonic()
        process = command(*(("train", "--resume", run_dir) if resume else start))
        if rng.random() < 0.3:  # while it starts, mostly
            time.sleep(rng.uniform(0, 14))
        else:
            wait_for(lambda before=step: step_of(run_dir) > before, process, 250)
            time.sleep(rng.uniform(0, 3))
        delay = time.monotonic() - began
        assert process.poll() is None, finish(process)
        process.kill()
        process.communicate()
        if not (run_dir / "checkpoint").exists() and not (run_dir / "checkpoint.old").exists():
            print(f"{number:3} after {delay:4.1f} s: no checkpoint yet")
            continue
        state = checkpoint.load_state(run_dir)
        assert state["step"] >= step
        step = state["step"]
        last = max((float(row["minutes"]) for row in rows(run_dir / "episodes.csv")[:-1]), default=0.0)
        lost.append(60 * last - state["seconds"])
        parts = [path.name for path in run_dir.iterdir() if "part" in path.name or "old" in path.name]
        print(f"{number:3} after {delay:4.1f} s: step {step:,}, {max(0.0, lost[-1]):.1f} s lost {parts}")
    process = command("train", "--resume", run_dir)
    wait_for(lambda: step_of(run_dir) > step, process, 250)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert (code, err) == (130, "")
    table = rows(run_dir / "episodes.csv")
    assert [int(row["episode"]) for row in table] == list(range(1, len(table) + 1))
    left = {path.name for path in run_dir.iterdir()}
    assert not {name for name in left if "part" in name or "old" in name}
    print(f"at most {max(lost):.1f} s lost, {len(lost)} times")
    assert max(lost) < interval_s + 2  # and what a busy machine takes to save


@faults
@browser
@pytest.mark.timeout(900)
def test_a_trainer_that_is_killed_leaves_no_process_and_no_directory(tmp_path, no_new_browsers):
    rng = random.Random(SEED)
    before, known = profiles(), {each.pid for each in browser_processes()}
    for number in range(round(8 * TIMES)):
        run_dir = tmp_path / str(number)
        process = command(
            *("train", "--preset", "tiny", "--steps", 10**7, "--run-dir", run_dir),
            program="tests/tiny_run.py",
        )
        time.sleep(rng.uniform(2, 14))
        process.kill()
        process.communicate()
        assert not still_running([each for each in browser_processes() if each.pid not in known], 10)
        deadline = time.monotonic() + 10
        while profiles() != before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert profiles() == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@faults
@pytest.mark.timeout(900)
def test_a_disk_that_fills_up_while_a_run_goes_on(small_disk):
    run_dir = small_disk / "run"
    arguments = ("train", *VECTORS, "--steps", 4000, "--run-dir", run_dir)
    assert run_process(*arguments).returncode == 0
    before, step = files_below(run_dir / "checkpoint"), checkpoint.load_state(run_dir)["step"]
    for free in (0, 4096, 50_000, 200_000):
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass
        os.truncate(filler, max(0, filler.stat().st_size - free))
        done = run_process("train", "--resume", run_dir, "--steps", 8000)
        print(free, done.returncode, done.stderr.strip())
        line = one_line(done.stderr)
        assert done.returncode == 2
        assert "No space left on device" in line
        assert f"The checkpoint of step {step:,} is whole" in line
        assert files_below(run_dir / "checkpoint") == before
        assert not [name for name in files_below(run_dir) if "part" in name]
        filler.unlink()
    done = run_process("train", "--resume", run_dir, "--steps", 8000)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_disk_that_has_become_read_only(cli, small_disk):
    """As after an error of the disk: also root may write nothing."""
    run_dir = small_disk / "run"
    assert cli(*cartpole(run_dir, "--steps", 3000))[0] == 0

    def remount(mode: str):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(small_disk)], check=True)

    remount("ro")
    before = files_below(small_disk)
    for arguments in (
        ("train", "--resume", run_dir, "--steps", 6000),
        cartpole(small_disk / "new", "--steps", 3000),
        ("evaluate", "--model", run_dir, "--games", 2, "--json", small_disk / "result.json"),
        ("plot", run_dir),
        ("report", run_dir),
        ("export-hub", small_disk / "hub", "--model", run_dir),
    ):
        code, _, err = cli(*arguments)
        assert code == 2, arguments
        assert "Read-only file system" in one_line(err)
    assert files_below(small_disk) == before
    remount("rw")
    assert cli("train", "--resume", run_dir, "--steps", 6000)[0] == 0
