"""Models of a run as it learned: kept while it trains, and played side by side."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import video_facts, write_model
from test_cli import refused
from test_record import read_video
from test_tracking import small, train

from dino_rl.player import load_player
from dino_rl.runs import snapshots
from dino_rl.runs.rows import LABEL_WIDTH, ROW_HEIGHT, TITLE_HEIGHT, RowLabel, stack_rows
from dino_rl.runs.snapshots import (
    MAX_BYTES,
    Snapshot,
    choose,
    find_snapshots,
    snapshot_path,
    target_minutes,
    worth_keeping,
)
from dino_rl.training import snapshots as saving
from dino_rl.training.run import Run


def written(run_dir: Path, *minutes: float, size: int = 10) -> list[Snapshot]:
    """Files with the names of snapshots, a thousand steps a minute."""
    for minute in minutes:
        path = snapshot_path(run_dir, minute, round(1000 * minute))
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(bytes(size))
        path.with_suffix(".json").write_bytes(b"")
    return find_snapshots(run_dir)


def test_snapshots_are_found_in_their_order(tmp_path):
    found = written(tmp_path, 120.0, 0.0, 9.9, 0.5)
    assert [(each.minutes, each.step) for each in found] == [(0, 0), (0.5, 500), (9.9, 9900), (120, 120_000)]
    found[1].path.with_suffix(".json").unlink()  # a run that was killed before the card
    (tmp_path / "snapshots" / "mine.h5").write_bytes(b"")
    assert [each.minutes for each in find_snapshots(tmp_path)] == [0, 9.9, 120]
    assert find_snapshots(tmp_path / "none") == []


def test_times_of_snapshots():
    assert target_minutes(0.4) == []
    assert target_minutes(60) == [0.5, 1, 2, 5, 10, 20, 40]
    assert target_minutes(80)[-1] == 80


def test_the_first_the_last_and_those_nearest_to_the_targets_are_kept(tmp_path):
    times = [round(0.1 * i, 1) for i in range(0, 250, 4)]  # a validation every 24 seconds
    kept: list[float] = []
    for time in times:  # as a run does
        every = written(tmp_path, time)
        chosen = worth_keeping(every)
        for each in every:
            if each not in chosen:
                each.remove()
        kept = [each.minutes for each in find_snapshots(tmp_path)]
    assert kept == [0.0, 0.4, 0.8, 2.0, 4.8, 10.0, 20.0, 24.8]


def test_all_snapshots_together_have_a_limit(tmp_path):
    every = written(tmp_path, 0, 0.5, 1, 2, 5, 10, size=100)
    assert worth_keeping(every, 600) == every
    assert [each.minutes for each in worth_keeping(every, 400)] == [0, 2, 5, 10]
    assert [each.minutes for each in worth_keeping(every, 150)] == [10]
    assert worth_keeping(every, 99) == []
    assert worth_keeping([]) == []
    assert MAX_BYTES < 20e6


def test_some_are_chosen_evenly():
    assert choose(range(3), 6) == [0, 1, 2]
    assert choose(range(7), 6) == [0, 2, 3, 4, 5, 6]
    assert choose(range(100), 4) == [0, 33, 66, 99]


# --- While a run trains ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    train(small(), run_dir)
    return run_dir


def test_a_run_keeps_models_that_play(run_dir):
    first, *_, last = find_snapshots(run_dir)
    assert first.step == 0
    assert last.step == 800
    before, after = (load_player(each.path) for each in (first, last))
    assert after.card["training"]["steps"] == 800
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert not np.allclose(before.values(observations), after.values(observations))
    best = load_player(run_dir / "best.h5")
    if best.card["training"]["steps"] == 800:
        np.testing.assert_array_equal(best.values(observations), after.values(observations))


def test_a_snapshot_is_made_when_its_minute_has_passed(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "minutes", property(lambda run: run.step / 100))
    train(small(validations=0), tmp_path)
    found = find_snapshots(tmp_path)
    assert [each.minutes for each in found] == [0, *target_minutes(8)]
    assert [each.step for each in found] == [0, 52, 100, 200, 500]  # steps of four environments


def test_a_network_that_is_too_large_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots.worth_keeping, "__defaults__", (1000,))
    monkeypatch.setattr(saving, "MAX_BYTES", 1000)
    made = []
    monkeypatch.setattr(saving, "snapshot_path", lambda *of: made.append(of) or snapshot_path(*of))
    train(small(), tmp_path)
    assert find_snapshots(tmp_path) == []
    assert len(made) == 1  # not again at each validation


def test_a_resumed_run_has_none_of_work_that_was_lost(run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / "run")
    run_dir = tmp_path / "run"
    state = run_dir / "checkpoint" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 400}))
    written(run_dir, 0.7)
    before = {each.step for each in find_snapshots(run_dir)}
    assert {0, 700, 800} <= before
    train(small(steps=400), run_dir, resume=True)
    assert {each.step for each in find_snapshots(run_dir)} <= {0, *range(1, 401)}


# --- Side by side ----------------------------------------------------------------------------------------


def test_rows_show_games_and_labels():
    canvases = [np.full((150, 600, 3), 200, np.uint8), np.zeros((300, 400, 3), np.uint8)]
    labels = [RowLabel("minute 1", "score 7"), RowLabel("minute 2", "score 3", "crashed")]
    picture = stack_rows(canvases, labels, "title")
    assert picture.shape == (TITLE_HEIGHT + 2 * ROW_HEIGHT, LABEL_WIDTH + 600, 3)
    first, second = picture[TITLE_HEIGHT:][:ROW_HEIGHT], picture[TITLE_HEIGHT + ROW_HEIGHT :]
    assert (first[1:, LABEL_WIDTH:] == 200).all()
    assert (second[1:, LABEL_WIDTH : LABEL_WIDTH + 200] > 150).all()  # an ended game is faded
    assert (second[1:, LABEL_WIDTH + 200 :] == 255).all()  # a smaller canvas
    for row in (first, second):
        assert (row[1:, :LABEL_WIDTH] < 128).any()  # there are letters
    same = stack_rows(canvases, [labels[0], RowLabel("minute 2", "score 4", "crashed")], "title")
    assert (same != picture).any()


def test_other_environments_are_watched_too(run_dir, cli, tmp_path):
    pytest.importorskip("pygame")
    video = tmp_path / "learning.mp4"
    code, out, err = cli("play", "--watch-learning", run_dir, "--record", video, "--headless", "--seed", 5)
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    assert lines[0].startswith("untrained: ")
    assert lines[0].endswith(", game over")
    assert str(video) in lines[-1]
    games = [line for line in lines if ": " in line and "," in line]
    assert len(games) == len(find_snapshots(run_dir))
    longest = max(float(line.split(": ")[1].split(",")[0]) for line in games)
    frames, (_, height), fps = video_facts(video)
    assert fps == 50
    assert height == TITLE_HEIGHT + ROW_HEIGHT * len(games)
    assert frames == longest + 1 + 2 * fps  # the start, each step, and the last picture for two seconds


@pytest.fixture
def dino_run(tmp_path) -> Path:
    """A run of the Dino with two snapshots of untrained networks."""
    run_dir = tmp_path / "run"
    for minutes in (0.0, 1.0):
        path = snapshot_path(run_dir, minutes, round(1000 * minutes))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_model(path)
    return run_dir


@pytest.mark.browser
def test_the_dino_is_watched_in_one_page(dino_run, cli, tmp_path, no_new_browsers):
    video = tmp_path / "learning.mp4"
    arguments = ("--headless", "--max-score", 12, "--record", video)
    code, out, err = cli("play", "--watch-learning", dino_run, *arguments)
    assert (code, err) == (0, ""), out
    assert "untrained: 12, plays on" in out  # nothing to run into so early
    assert "minute 1: 12, plays on" in out
    frames, size, fps = video_facts(video)
    assert fps == 30
    assert size == (LABEL_WIDTH + 600, TITLE_HEIGHT + 2 * ROW_HEIGHT)
    seen = read_video(video)
    assert 30 < frames - 2 * fps < 60
    upper, lower = seen[30][TITLE_HEIGHT:][:ROW_HEIGHT], seen[30][TITLE_HEIGHT + ROW_HEIGHT :]
    difference = np.abs(upper[4:, LABEL_WIDTH:].astype(int) - lower[4:, LABEL_WIDTH:])
    assert difference.mean() < 2  # one network, one seed, one game
    assert (upper[4:, LABEL_WIDTH:] < 128).mean() > 0.001


@pytest.mark.browser
def test_the_window_has_a_row_for_each_model(dino_run, monkeypatch, unseen_window, no_new_browsers):
    from dino_rl.envs.dino.env import DinoVectorEnv
    from dino_rl.watch_learning import watch_learning

    step, seen = DinoVectorEnv.step, []
    ask = """return [...document.querySelectorAll(".game")].map((game) => {
        const box = game.getBoundingClientRect();
        const frame = game.querySelector("iframe").getBoundingClientRect();
        return [box.top, box.bottom, frame.left, frame.width, game.innerText, innerHeight]})"""

    def look(self, actions):
        result = step(self, actions)
        seen.append(self.arena.browser.script(ask))
        return result

    monkeypatch.setattr(DinoVectorEnv, "step", look)
    watch_learning(dino_run, window=True, max_score=6)
    first, second = seen[-2]
    assert "untrained" in first[4]
    assert "minute 1" in second[4]
    assert "score 5" in first[4]
    assert first[1] <= second[0] + 1  # one above the other
    assert second[1] <= second[5] + 1  # in the window
    assert first[2] >= 150  # beside its label
    assert first[3] < 800


@pytest.mark.parametrize("damage", ["none", "cut", "card"])
def test_what_has_no_snapshots_to_watch(damage, dino_run, cli, tmp_path):
    path = snapshot_path(dino_run, 1.0, 1000)
    if damage == "none":
        refused(cli("play", "--watch-learning", tmp_path), "no snapshots")
        return
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.with_suffix(".json").write_text("[]")
    video = tmp_path / "video.mp4"
    refused(cli("play", "--watch-learning", dino_run, "--record", video, "--headless"), path.stem)
    assert not video.exists()


@pytest.mark.parametrize("option", [("--games", 3), ("--overlay",), ("--clock", "live"), ("--in-page",)])
def test_options_that_watching_does_not_know(option, dino_run, cli):
    refused(cli("play", "--watch-learning", dino_run, *option), option[0])
