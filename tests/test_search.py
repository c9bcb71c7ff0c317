"""Options of `train` and `tune` that concern Ray. No Ray is needed here."""

import subprocess
import sys
from dataclasses import asdict
from json import dumps, loads

import pytest
from conftest import ROOT

from dino_rl.config import from_dict
from dino_rl.errors import DinoError
from dino_rl.presets import default_for, preset
from dino_rl.recipe import with_network, with_options
from dino_rl.scale.config import SearchConfig
from dino_rl.train_config import from_saved


@pytest.mark.parametrize("name", ["dino", "vectors-cem", "vectors-rllib-ppo"])
def test_every_engine_takes_a_network_and_a_learning_rate(name):
    before = preset(name)
    after = with_network(before, 48, "tanh", 2e-3)
    changed = after.algorithm_config
    assert changed.learning_rate == 2e-3
    if after.dqn:
        assert (changed.network.width, changed.network.activation) == (48, "tanh")
        share = before.dqn.learning_rate_at(1.0) / before.dqn.learning_rate
        assert changed.learning_rate_at(1.0) / 2e-3 == pytest.approx(share)
    else:
        assert (changed.hidden_units, changed.activation) == ((48, 48), "tanh")
    assert with_network(before) == before


def test_the_configuration_of_a_search_comes_back_from_json():
    config = SearchConfig(run=preset("vectors-cem"), widths=(8,), learning_rates=(1e-3, 1e-2))
    data = loads(dumps(asdict(config)))
    assert from_dict(SearchConfig, {**data, "run": from_saved(data["run"])}) == config


def test_actors_are_for_engines_that_have_some():
    assert with_options(default_for("CartPole-v1", engine="ray"), {}, actors=3).actors.actors == 3
    assert with_options(preset("vectors-rllib-dqn"), {}, actors=3).rllib_dqn.env_runners == 3
    assert with_options(preset("vectors-rllib-ppo"), {}, actors=3).rllib_ppo.env_runners == 3
    with pytest.raises(DinoError, match="--actors"):
        with_options(preset("dino"), {}, actors=3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("train", "--engine", "rllib", "--algo", "cem"), "--engine rllib has no cem: use dqn or ppo."),
        (("train", "--algo", "ppo"), "--engine keras has no ppo"),
        (("train", "--engine", "rllib", "--preset", "cartpole"), "leave one of the two out"),
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
    for name in [name for name in sys.modules if name.startswith(("dino_rl.scale", "ray"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not there
    code, _, err = cli(*command, "--run-dir", tmp_path / "run")
    assert code == 2
    assert "make setup-ray" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_configurations_and_recipes_load_without_ray_and_tensorflow():
    program = """
import sys
blocked = ("ray", "torch", "tensorflow", "keras", "selenium")
sys.modules.update(dict.fromkeys(blocked))  # importing one of them is an ImportError now
import dino_rl.scale.config
from dino_rl.presets import recipes
print(recipes()["dino-rllib-ppo"].rllib_ppo.epochs)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "4\n"
