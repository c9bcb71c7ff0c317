"""The files and the plot of a search."""

import csv
import json
import math
from dataclasses import asdict

import pytest

from dino_rl.errors import RunError
from dino_rl.runs.search_plot import plot_search
from dino_rl.runs.search_results import Outcome, load_outcomes, rank, save_outcome, write_ranking

FAST = Outcome(64, "relu", 1e-3, True, 9_000, 30.0, 196.0)
SLOW = Outcome(32, "tanh", 2e-3, True, 7_000, 90.0, 195.0)
NEAR = Outcome(32, "relu", 5e-3, False, 20_000, 80.0, 150.0)
FAR = Outcome(64, "tanh", 1e-2, False, 1_000, 5.0, 12.0)
NOTHING = Outcome(64, "tanh", 2e-2, False, 100, 1.0, float("nan"))


def test_trials_that_miss_the_target_come_last():
    assert rank([FAR, NEAR, FAST, SLOW], "steps") == [SLOW, FAST, NEAR, FAR]
    assert rank([NOTHING, FAR, NEAR, FAST, SLOW], "seconds") == [FAST, SLOW, NEAR, FAR, NOTHING]


def test_outcomes_read_back_and_a_damaged_one_is_named(tmp_path):
    for outcome in (FAST, NEAR):
        save_outcome(tmp_path, outcome)
    assert sorted(load_outcomes(tmp_path), key=lambda each: each.steps) == [FAST, NEAR]
    for damage in ("{", "[]", '{"width": 1}', json.dumps(asdict(FAST) | {"steps": "many"})):
        (tmp_path / FAST.name / "outcome.json").write_text(damage)
        with pytest.raises(RunError, match=FAST.name) as caught:
            load_outcomes(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_trial_without_an_episode_reads_back(tmp_path):
    save_outcome(tmp_path, NOTHING)
    (outcome,) = load_outcomes(tmp_path)
    assert math.isnan(outcome.return_mean)
    assert outcome.name == NOTHING.name


def test_ranking_opens_in_a_spreadsheet_and_is_drawn(tmp_path):
    ranked = rank([FAR, NEAR, FAST, SLOW], "steps")
    write_ranking(tmp_path / "ranking.csv", ranked)
    with (tmp_path / "ranking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["steps"]) for row in rows] == [
        ("1", "7000"),
        ("2", "9000"),
        ("3", "20000"),
        ("4", "1000"),
    ]
    paths = plot_search(tmp_path, ranked, "steps", "title")
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG"] * 2
    assert plot_search(tmp_path, [FAR], "steps", "target not reached")
