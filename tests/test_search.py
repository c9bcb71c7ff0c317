"""The command line of a search: no Ray needed."""

import pytest

from dino_rl.errors import DinoError
from dino_rl.settings import PRESETS, RunSettings, SearchSettings, from_dict, with_actors, with_network


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
