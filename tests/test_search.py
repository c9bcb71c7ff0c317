"""What a search leaves, and its command line: no Ray needed."""

import csv

import pytest

from dino_rl.errors import DinoError, RunError
from dino_rl.results.search import Outcome, load_outcomes, plot_search, rank, save_outcome, write_ranking
from dino_rl.settings import PRESETS, RunSettings, SearchSettings, from_dict, with_actors, with_network

FAST = Outcome(64, "relu", 1e-3, True, 9_000, 30.0, 196.0)
SLOW = Outcome(32, "tanh", 2e-3, True, 7_000, 90.0, 195.0)
NEAR = Outcome(32, "relu", 5e-3, False, 20_000, 80.0, 150.0)
FAR = Outcome(64, "tanh", 1e-2, False, 1_000, 5.0, 12.0)
NOTHING = Outcome(64, "tanh", 2e-2, False, 100, 1.0, float("nan"))


def test_who_never_reaches_the_target_is_last_and_not_dropped():
    assert rank([FAR, NEAR, FAST, SLOW], "steps") == [SLOW, FAST, NEAR, FAR]
    assert rank([NOTHING, FAR, NEAR, FAST, SLOW], "seconds") == [FAST, SLOW, NEAR, FAR, NOTHING]


def test_outcomes_are_kept_and_a_damaged_one_is_named(tmp_path):
    for outcome in (FAST, NEAR):
        save_outcome(tmp_path, outcome)
    assert sorted(load_outcomes(tmp_path), key=lambda each: each.steps) == [FAST, NEAR]
    (tmp_path / FAST.name / "outcome.json").write_text("{")
    with pytest.raises(RunError, match=FAST.name):
        load_outcomes(tmp_path)


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
    assert plot_search(tmp_path, [FAR], "steps", "nobody reached it")


@pytest.mark.parametrize("name", ["dino", "vectors-cem", "vectors-rllib-ppo"])
def test_every_engine_takes_a_network_and_a_learning_rate(name):
    before = PRESETS[name]
    after = with_network(before, 48, "tanh", 2e-3)
    part = "rllib" if before.engine == "rllib" else before.algorithm
    changed = getattr(after, part)
    assert (changed.activation, changed.learning_rate) == ("tanh", 2e-3)
    if part == "dqn":
        assert changed.width == 48
        assert changed.learning_rate_at(1.0) / 2e-3 == pytest.approx(before.dqn.learning_rate_at(1.0) / 3e-4)
    else:
        assert changed.hidden_units == (48, 48)
    assert with_network(before) == before


def test_settings_of_a_search_come_back_from_json():
    from dataclasses import asdict
    from json import dumps, loads

    settings = SearchSettings(run=PRESETS["vectors-cem"], widths=(8,), learning_rates=(1e-3, 1e-2))
    assert from_dict(SearchSettings, loads(dumps(asdict(settings)))) == settings


def test_actors_are_for_engines_that_have_some():
    assert with_actors(RunSettings(engine="ray"), 3).on_ray.actors == 3
    assert with_actors(RunSettings(engine="rllib"), 3).rllib.env_runners == 3
    with pytest.raises(DinoError, match="--actors"):
        with_actors(RunSettings(), 3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("train", "--engine", "rllib", "--algo", "cem"), "--engine rllib has no cem: use dqn or ppo."),
        (("train", "--algo", "ppo"), "--engine keras has no ppo"),
        (("train", "--engine", "rllib", "--preset", "cartpole"), "leave one of them out"),
        (("train", "--actors", "2"), "--actors is for --engine ray or rllib"),
        (("train", "--ray-address", "here:1"), "--ray-address is for"),
        (("tune", "--learning-rates", "1e-2"), "FROM,TO"),
        (("tune", "--widths", "32,many"), "whole number"),
    ],
)
def test_a_wrong_option_is_one_line(cli, arguments, complaint, tmp_path):
    code, _, err = cli(*arguments, "--run-dir", tmp_path / "run")
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [("train", "--engine", "ray"), ("tune", "--env", "CartPole-v1")])
def test_without_ray_one_line_says_what_to_install(cli, command, tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith(("dino_rl.scale", "ray"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not there
    code, _, err = cli(*command, "--run-dir", tmp_path / "run")
    assert code == 2
    assert "make setup-ray" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
