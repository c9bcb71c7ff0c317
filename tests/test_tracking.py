"""Logs for TensorBoard, Weights & Biases and MLflow."""

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import ROOT
from gymnasium.vector import AutoresetMode
from PIL import Image
from test_run_files import full_disk
from tiny_run import TINY

from dino_rl.backend import tf
from dino_rl.errors import DinoError, RunError
from dino_rl.experiment import make_run
from dino_rl.presets import default_for
from dino_rl.runs.animation import encode_gif
from dino_rl.runs.csv_log import read_table
from dino_rl.train_config import TrainConfig, to_data
from dino_rl.training import callbacks
from dino_rl.training.clips import Clip, LastFrames
from dino_rl.training.run import Callback
from dino_rl.training.tracking import flat


def small(env_id: str = "CartPole-v1", algo: str = "dqn", **run) -> TrainConfig:
    """All events of a run in seconds."""
    config = default_for(env_id, algo)
    if config.dqn:
        dqn = replace(
            config.dqn, batch_size=8, samples_per_insert=0.5, updates_per_call=2, learning_starts=200
        )
        config = replace(config, dqn=replace(dqn, replay=replace(dqn.replay, capacity=2000)))
    limits = {"steps": 800, "minutes": None, "validations": 2, "validation_games": 3, "stop_return": None}
    env = replace(config.env, num_envs=4)
    return replace(config, env=env, run=replace(config.run, **limits | run))


def train(config: TrainConfig, run_dir: Path, callbacks: tuple[Callback, ...] = (), **options):
    with make_run(config, run_dir, callbacks, command="test", **options) as run:
        run.run()
    return run


def event_files(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("events.out.tfevents.*"))


def events(path: Path) -> list:
    """By TensorFlow's own reader, which checks the checksums."""
    return list(tf.compat.v1.train.summary_iterator(str(path)))


def values(path: Path) -> list[tuple]:
    """(step, value) of everything in an event file."""
    return [(event.step, value) for event in events(path) for value in event.summary.value]


def scalars(path: Path, tag: str) -> list[tuple[int, float]]:
    return [(step, value.simple_value) for step, value in values(path) if value.tag == tag]


class Decisions(Callback):
    """What the agent computed, float [4, 2] of each step."""

    def __init__(self):
        self.values: list[np.ndarray] = []

    def on_start(self, run) -> None:
        run.algorithm.on_decision.append(lambda decision: self.values.append(decision.values.copy()))


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    """Of `cartpole_run`."""
    return Decisions()


@pytest.fixture(scope="module")
def cartpole_run(decisions, tmp_path_factory) -> Path:
    """A run with a row in intervals.csv for every step."""
    run_dir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "INTERVAL_S", 0.0)
        train(small(), run_dir, (decisions,))
    return run_dir


# --- TensorBoard -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("intervals", "loss"),
        ("intervals", "q_mean"),
        ("intervals", "score_mean"),
        ("intervals", "steps_per_s"),
        ("validations", "mean"),
        ("validations", "best"),
        ("episodes", "score"),
        ("episodes", "length"),
    ],
)
def test_curves_are_the_columns_of_the_tables(table, column, cartpole_run):
    (path,) = event_files(cartpole_run)
    rows = read_table(cartpole_run / f"{table}.csv")
    expected = [(s, v) for s, v in zip(rows["step"], rows[column], strict=True) if np.isfinite(v)]
    assert len(expected) >= 2
    written = scalars(path, f"{table}/{column}")
    assert [step for step, _ in written] == [step for step, _ in expected]
    np.testing.assert_allclose([v for _, v in written], [v for _, v in expected], rtol=1e-4)


def test_the_axis_is_no_curve(cartpole_run):
    (path,) = event_files(cartpole_run)
    tags = {value.tag for _, value in values(path)}
    assert not tags & {
        f"{table}/{name}" for table in ("intervals", "episodes") for name in ("step", "minutes")
    }


def test_q_values_are_histograms_of_each_action(cartpole_run, decisions):
    (path,) = event_files(cartpole_run)
    found = [value for _, value in values(path) if value.tag.startswith("q_values/")]
    assert {value.tag for value in found} == {"q_values/left", "q_values/right"}
    for column, action in enumerate(("left", "right")):
        histograms = [value.histo for value in found if value.tag == f"q_values/{action}"]
        assert len(histograms) == len(decisions.values) == 200  # steps of four games
        for histogram, step in zip(histograms, decisions.values, strict=True):
            of_action = step[:, column]
            assert histogram.num == sum(histogram.bucket) == 4
            assert (histogram.min, histogram.max) == (of_action.min(), of_action.max())
            assert histogram.sum == pytest.approx(of_action.sum(), rel=1e-4, abs=1e-6)
            assert histogram.sum_squares == pytest.approx(np.square(of_action).sum(), rel=1e-4)


def test_the_configuration_is_text_and_hyper_parameters(cartpole_run):
    (path,) = event_files(cartpole_run)
    found = {value.tag: value for _, value in values(path)}
    assert found["configuration"].metadata.plugin_data.plugin_name == "text"
    (text,) = tf.make_ndarray(found["configuration"].tensor).tolist()
    assert "| dqn.batch_size | 8 |" in text.decode()
    start = found["_hparams_/session_start_info"].metadata.plugin_data
    assert start.plugin_name == "hparams"
    messages = pytest.importorskip("tensorboardX.proto.plugin_hparams_pb2")  # it comes with Ray
    settings = messages.HParamsPluginData.FromString(start.content).session_start_info.hparams
    assert settings["dqn.batch_size"].number_value == 8
    assert settings["env.id"].string_value == "CartPole-v1"
    assert settings["dqn.double"].bool_value is True
    assert set(settings) == set(flat(to_data(small())))


def test_iterations_of_cem(tmp_path):
    config = small(algo="cem", steps=4000, validations=0)
    config = replace(config, cem=replace(config.cem, sessions=20))
    train(config, tmp_path)
    (path,) = event_files(tmp_path)
    rows = read_table(tmp_path / "iterations.csv")
    assert len(rows["mean"]) >= 2
    np.testing.assert_allclose([v for _, v in scalars(path, "iterations/mean")], rows["mean"], rtol=1e-4)
    returns = [value.histo for _, value in values(path) if value.tag == "iterations/returns"]
    assert [histo.num for histo in returns] == rows["sessions"]
    np.testing.assert_allclose([histo.sum / histo.num for histo in returns], rows["mean"], rtol=1e-4)


def test_a_resumed_run_hides_the_work_that_was_lost(tmp_path):
    train(small(), tmp_path)
    (first,) = event_files(tmp_path)
    assert train(small(steps=1000), tmp_path, resume=True).step == 1000
    assert event_files(tmp_path)[0] == first
    second = event_files(tmp_path)[1]
    (mark,) = [event for event in events(second) if event.session_log.status]
    assert (mark.step, mark.session_log.status) == (801, tf.compat.v1.SessionLog.START)
    steps = [step for step, _ in scalars(second, "episodes/score")]
    assert steps
    assert min(steps) > 800


def test_it_can_be_left_out(tmp_path):
    train(small(tensorboard=False, steps=40, validations=0), tmp_path)
    assert (tmp_path / "intervals.csv").exists()
    assert event_files(tmp_path) == []


def test_a_full_disk_ends_the_run_in_one_line(tmp_path):
    from dino_rl.training.tensorboard import TensorBoard

    tracker = TensorBoard(tmp_path)
    tracker.start({"a": 1}, 0)

    def log_much():
        for step in range(1000):
            tracker.scalars({"a/b": 1.0}, step)
            tracker.flush()

    with full_disk(2000), pytest.raises(RunError, match=r"Cannot write .*events\.out\.tfevents") as caught:
        log_much()
    assert "\n" not in str(caught.value)
    tracker.close()


def test_a_run_that_logs_is_the_run_that_does_not(cartpole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "INTERVAL_S", 0.0)
    train(small(tensorboard=False), tmp_path)
    for name in ("episodes.csv", "validations.csv"):
        ours, theirs = read_table(tmp_path / name), read_table(cartpole_run / name)
        for column in ours.keys() - {"minutes"}:
            np.testing.assert_array_equal(ours[column], theirs[column])


def test_flat():
    assert flat({"a": {"b": 1, "c": {"d": (2, 3)}}, "e": None, "f": "g"}) == {
        "a.b": 1,
        "a.c.d": (2, 3),
        "f": "g",
    }


# --- The end of the best game ----------------------------------------------------------------------------


class Counting(gymnasium.vector.VectorEnv):
    """Images full of the number of the step; game i ends after `lengths[i]` steps."""

    def __init__(self, lengths: list[int]):
        self.num_envs = len(lengths)
        self.metadata = {"render_fps": 20, "autoreset_mode": AutoresetMode.DISABLED}
        self.lengths, self.counts = np.array(lengths), np.zeros(len(lengths), int)

    def _observe(self) -> np.ndarray:
        newest = np.tile(self.counts[:, None, None].astype(np.uint8), (1, 6, 8))
        return np.stack([np.full_like(newest, 255), newest], axis=-1)

    def reset(self, *, seed=None, options=None):
        self.counts[(options or {}).get("reset_mask", np.ones(self.num_envs, bool))] = 0
        return self._observe(), {}

    def step(self, actions):
        self.counts += 1
        over = self.counts == self.lengths
        return self._observe(), np.ones(self.num_envs), over, ~over & False, {}


def test_the_last_frames_of_each_game():
    env = LastFrames(Counting([5, 400]))
    env.reset(seed=[70, 80])
    for _ in range(5):
        env.step(np.zeros(2))
    env.reset(seed=[71, 0], options={"reset_mask": np.array([True, False])})
    for _ in range(395):
        env.step(np.zeros(2))
    assert set(env.clips) == {70, 71, 80}
    assert env.clips[70].fps == 10
    assert env.clips[70].frames[:, 0, 0].tolist() == [2, 4, 5]
    assert env.clips[71].frames[:, 3, 3].tolist() == [1, 3, 5]  # none of the game before
    long = env.clips[80].frames[:, 0, 0]
    assert len(long) == 80  # eight seconds
    assert long[-1] == 400 % 256
    assert env.clips[80].frames.shape == (80, 6, 8)


def test_a_clip_is_an_animated_picture():
    frames = np.zeros((5, 20, 30), np.uint8)
    for t in range(5):
        frames[t, :, 6 * t : 6 * t + 6] = 250
    with Image.open(io.BytesIO(Clip(frames, 12.5, frames[..., None]).to_gif())) as picture:
        assert (picture.format, picture.size, picture.n_frames) == ("GIF", (30, 20), 5)
        for t in range(5):
            picture.seek(t)
            assert picture.info["duration"] == 80
            shown = np.asarray(picture.convert("L"))
            np.testing.assert_array_equal(shown > 125, frames[t] > 125)
    assert encode_gif(frames[:1], 10).startswith(b"GIF89a")


@pytest.mark.browser
def test_the_best_validation_game_of_the_dino(tmp_path, no_new_browsers):
    class Rows(Callback):
        def __init__(self):
            self.seen = []

        def on_validation(self, run, row):
            self.seen.append(row)

    rows = Rows()
    train(TINY, tmp_path, (rows,))
    (row,) = rows.seen
    assert row["clip"].frames.shape[1:] == (80, 80)
    assert row["clip"].fps == 15
    (path,) = event_files(tmp_path)
    ((step, value),) = [(step, v) for step, v in values(path) if v.tag == "validations/best_game"]
    assert step == TINY.run.steps
    assert (value.image.height, value.image.width) == (80, 80)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as picture:
        frames = row["clip"].frames
        changes = (frames[1:] != frames[:-1]).any(axis=(1, 2)).sum()
        assert picture.n_frames == 1 + changes > 3  # the format keeps one of equal frames
    card = json.loads((tmp_path / "best.json").read_text())
    assert "clip" not in card["validation"]
    assert {v.tag for _, v in values(path) if v.tag.startswith("q_values")} == {
        "q_values/nothing",
        "q_values/jump",
        "q_values/duck",
    }


# --- Weights & Biases, MLflow ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny")])
def test_a_tracker_that_is_not_installed_is_one_line(name, package, tmp_path, monkeypatch, cli):
    monkeypatch.setitem(sys.modules, name, None)
    arguments = ("--env", "CartPole-v1", "--steps", 50, "--run-dir", tmp_path / "run", "--log", name)
    code, _, err = cli("train", *arguments)
    assert code == 2
    assert err == f"dino-rl: --log {name} needs a package: pip install {package}\n"
    assert list(tmp_path.iterdir()) == []


def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # it cleans up when its process ends
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_dir = tmp_path / "my-run"
    logged, config, ids = [], {}, []
    init = wandb.init

    def watched_init(**options):
        run = init(**options)
        config.update(run.config.as_dict())
        ids.append(run.id)
        log = run.log
        monkeypatch.setattr(run, "log", lambda row, step: (logged.append((step, row)), log(row, step=step)))
        return run

    monkeypatch.setattr(wandb, "init", watched_init)
    train(small(), run_dir, trackers=["wandb"])
    assert config["dqn.batch_size"] == 8
    names = {name for _, row in logged for name in row}
    assert {"intervals/loss", "validations/mean", "episodes/score", "q_values/left"} <= names
    steps = [step for step, _ in logged]
    assert steps == sorted(steps)
    (written,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    assert written.stat().st_size > 1000
    assert train(small(steps=900), run_dir, trackers=["wandb"], resume=True).step == 900
    assert ids[0] == ids[1]  # one run, not two
    wandb.teardown()  # its service, which has a temporary directory


@pytest.fixture(params=["files", "a database"])
def mlflow(request, tmp_path, monkeypatch):
    """MLflow without a server. Its files need no package, but since MLflow 3 the user's consent."""
    mlflow = pytest.importorskip("mlflow")
    if request.param == "files":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    else:
        pytest.importorskip("sqlalchemy")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.chdir(tmp_path)  # artifacts are in ./mlartifacts
    return mlflow


def test_mlflow_without_a_server(mlflow, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    run_dir = tmp_path / "my-run"
    train(small(), run_dir, trackers=["mlflow"])
    assert train(small(steps=900), run_dir, trackers=["mlflow"], resume=True).step == 900
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "my-run"
    assert run.info.status == "FINISHED"
    assert run.data.params["dqn.batch_size"] == "8"
    assert len(run.data.params) == len(flat(to_data(small())))
    history = client.get_metric_history(run.info.run_id, "validations/mean")
    rows = read_table(run_dir / "validations.csv")
    assert [metric.step for metric in history] == rows["step"]
    np.testing.assert_allclose([metric.value for metric in history], rows["mean"], rtol=1e-4)
    quantiles = [run.data.metrics[f"q_values/left/p{share}"] for share in (10, 50, 90)]
    assert quantiles == sorted(quantiles)


def test_an_mlflow_server_that_is_gone_ends_no_run(mlflow, tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise mlflow.exceptions.MlflowException("connection refused\nand more")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
    monkeypatch.setattr("dino_rl.training.trackers.MLFLOW_PARAMS", 10**6)
    with pytest.raises(DinoError, match=r"MLflow does not start: connection refused$"):
        train(small(steps=40, validations=0), tmp_path / "one", trackers=["mlflow"])
    batches = []

    def refuse_later(client, run_id, metrics=(), params=()):
        batches.append(len(metrics))
        if metrics:
            refuse()

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse_later)
    assert train(small(), tmp_path / "two", trackers=["mlflow"]).step == 800
    assert sum(batches) > 10
    assert "MLflow missed a part of this run: connection refused" in caplog.text


def test_a_run_without_trackers_loads_none():
    code = (
        "import sys; import dino_rl.experiment, dino_rl.training.tracking\n"
        "print(sorted({'wandb', 'mlflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ.copy()
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_records_have_the_layout_of_tensorflow(cartpole_run):
    """Length, checksum of the length, data, checksum: the first record names the version."""
    (path,) = event_files(cartpole_run)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert b"brain.Event:2" in data[12 : 12 + length]
