"""Runs on disk: their models, videos and numbers, as a table and as curves."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from dino_rl.errors import RunError
from dino_rl.runs import RunDirectory, find_runs, newest_run
from dino_rl.runs.csv_log import EPISODE_COLUMNS, INTERVAL_COLUMNS, VALIDATION_COLUMNS, RunLog
from dino_rl.runs.plots import plot_comparison, plot_run
from dino_rl.runs.run_directory import model_of, videos_dir

ACTIONS = ("nothing", "jump", "duck")


def write_run(path, started_ago_s=0.0, level=1.0, validations=(300.0, 900.0, 700.0)):
    """The files of a run, with numbers that follow a formula."""
    path.mkdir(parents=True)
    about = path / "run.json"
    settings = {"env": {"id": "ChromeDino-v0"}, "algorithm": "dqn", "stop_return": None}
    about.write_text(json.dumps({"settings": settings, "actions": ACTIONS}))
    os.utime(about, (time.time() - started_ago_s,) * 2)
    log, rng = RunLog(path, ACTIONS, ("loss", "q_mean")), np.random.default_rng(0)
    for i in range(1, 201):
        row = dict.fromkeys((*EPISODE_COLUMNS, *ACTIONS), 0) | {
            "episode": i,
            "step": 40 * i,
            "minutes": 0.1 * i,
        }
        score = float(20 + level * i * (1 + rng.random()))
        log.episodes.add(row | {"greedy": int(i % 4 == 0), "score": score, "nothing": 3, "jump": 1 + i % 2})
        row = dict.fromkeys(INTERVAL_COLUMNS, 1.5) | {"step": 40 * i, "minutes": 0.1 * i}
        log.intervals.add(row | {"loss": float("nan") if i < 5 else 1 / i, "q_mean": i / 9})
    for i, mean in enumerate(validations):
        row = dict.fromkeys(VALIDATION_COLUMNS, 20) | {"step": 2000 * i, "minutes": 5.0 * i}
        log.validations.add(row | {"mean": mean, "median": mean})
    log.close()
    return path


@pytest.fixture
def runs(tmp_path):
    """Three runs, of which the second is the newest, and two directories that are no runs."""
    directory = tmp_path / "runs"
    write_run(directory / "first", started_ago_s=500)
    write_run(directory / "second", started_ago_s=10, level=3.0)
    write_run(directory / "third", started_ago_s=200, validations=())
    (directory / "empty").mkdir()
    (directory / "damaged").mkdir()
    (directory / "damaged" / "run.json").write_text("{")
    return directory


def test_the_newest_run_is_found(runs):
    assert [run.name for run in find_runs(runs)] == ["second", "third", "first"]
    run = newest_run(runs)
    assert (run.name, run.env, run.algorithm) == ("second", "ChromeDino-v0", "dqn")
    assert (run.steps, run.minutes, run.best_validation) == (8000, 20.0, 900.0)
    assert np.isnan(RunDirectory(runs / "third").best_validation)


def test_its_best_model_and_its_newest_videos_are_found(runs):
    run = newest_run(runs)
    with pytest.raises(RunError, match=r"best\.h5"):
        run.best_model  # noqa: B018
    (run.path / "best.h5").write_bytes(b"")
    assert model_of(run.path) == run.best_model == run.path / "best.h5"
    assert run.videos == []
    assert videos_dir(run.best_model) == run.path / "videos"
    run.path.joinpath("videos").mkdir()
    for age, name in enumerate(("new", "older", "oldest")):
        video = run.path / "videos" / f"{name}.mp4"
        video.write_bytes(b"")
        os.utime(video, (time.time() - age,) * 2)
    (run.path / "videos" / "part-next.mp4").write_bytes(b"")  # being written
    assert [video.stem for video in run.videos] == ["new", "older", "oldest"]


def test_a_model_outside_of_a_run_has_its_videos_by_its_name(tmp_path):
    model = tmp_path / "models" / "best.h5"
    assert model_of(model) == model
    assert videos_dir(model).parts == ("videos", "best")


def test_where_no_run_is(tmp_path):
    with pytest.raises(RunError, match="start one with"):
        newest_run(tmp_path)
    with pytest.raises(RunError, match="not a run directory"):
        RunDirectory(tmp_path)


@pytest.mark.parametrize(
    ("about", "columns", "expected"),
    [
        ({"score": "score"}, {}, ("dqn", "score", None)),
        ({"score": "return"}, {"score": 3.0}, ("dqn", "return", None)),
        ({}, {"score": 3.0, "return": 3.0}, ("dqn", "return", None)),
        ({}, {"score": 50.0, "return": -0.5}, ("dqn", "score", None)),
        ({}, {}, ("dqn", "return", None)),
        ({"settings": {"algorithm": "cem", "stop_return": 190.0}}, {}, ("cem", "return", 190.0)),
        ({"settings": {"algo": "ppo", "run": {"stop_return": 475.0}}}, {}, ("ppo", "return", 475.0)),
    ],
)
def test_run_json_of_this_version_and_of_0_1_0(about, columns, expected, tmp_path):
    settings = {"env": {"id": "CartPole-v1"}} | about.get("settings", {})
    (tmp_path / "run.json").write_text(json.dumps(about | {"settings": settings}))
    if columns:
        log = RunLog(tmp_path, (), ())
        log.episodes.add(dict.fromkeys(EPISODE_COLUMNS, 1) | columns)
        log.close()
    run = RunDirectory(tmp_path)
    assert (run.algorithm, run.score_name, run.target) == expected


def test_runs_are_listed(runs, cli):
    code, out, err = cli("runs", runs)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:6] == ["second", "ChromeDino-v0", "dqn", "8,000", "20.0", "900"]
    assert [line.split()[0] for line in lines[2:4]] == ["third", "first"]
    assert f"play --model {runs / 'second'}" in out


def brightness(path) -> float:
    """0 to 1: of an image's edge, where nothing is drawn."""
    return float(np.asarray(Image.open(path).convert("L"))[:4].mean()) / 255


def test_a_run_s_curves_on_both_backgrounds(runs):
    light, dark = plot_run(runs / "second")
    assert (light.name, dark.name) == ("curves-light.png", "curves-dark.png")
    assert brightness(light) > 0.95
    assert brightness(dark) < 0.15
    ink = np.asarray(Image.open(light).convert("RGB"))
    assert len(np.unique(ink.reshape(-1, 3), axis=0)) > 500  # curves, not an empty frame


def test_runs_are_compared(runs, cli, tmp_path):
    code, out, err = cli("runs", runs, "--compare", "second", runs / "third")
    assert (code, err) == (0, "")
    drawn = [runs / f"compare-second-third-{background}.png" for background in ("light", "dark")]
    assert all(str(path) in out for path in drawn)
    assert brightness(drawn[0]) > 0.95
    assert brightness(drawn[1]) < 0.15
    both = np.asarray(Image.open(drawn[0]).convert("RGB")).astype(int)
    plot_comparison([RunDirectory(runs / "second")], tmp_path)
    one = np.asarray(Image.open(tmp_path / "compare-second-light.png").convert("RGB")).astype(int)
    orange = [np.abs(image - (0xD5, 0x5E, 0x00)).sum(axis=2).min() for image in (both, one)]
    assert orange[0] == 0
    assert orange[1] > 0


@pytest.mark.parametrize("names", [["nothing"], ["second", "damaged"], ["empty"]])
def test_comparing_what_is_no_run(names, runs, cli):
    before = sorted(path.name for path in runs.iterdir())
    code, _, err = cli("runs", runs, "--compare", *names)
    assert code == 2
    assert "not a run directory" in err
    assert sorted(path.name for path in runs.iterdir()) == before


def test_a_run_without_an_episode_is_not_drawn(runs, cli):
    shutil.rmtree(runs / "empty")
    (runs / "first" / "episodes.csv").unlink()
    code, _, err = cli("runs", runs, "--compare", "first")
    assert code == 2
    assert "no episodes to draw" in err
    assert len(err.strip().splitlines()) == 1


def test_no_runs_at_all(cli, tmp_path):
    code, _, err = cli("runs", tmp_path / "nothing")
    assert code == 2
    assert "No runs in" in err
