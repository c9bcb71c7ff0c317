"""Models as files, and the players that are built from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_model

from dino_rl.agents.networks import TORSOS
from dino_rl.backend import keras
from dino_rl.envs.registry import make_task
from dino_rl.errors import ModelError
from dino_rl.experiment import model_card
from dino_rl.player import KerasPlayer, build_network
from dino_rl.presets import preset
from dino_rl.runs.model_file import card_path, save_model
from dino_rl.spec import ObservationSpec, TaskSpec
from dino_rl.train_config import TrainConfig, to_data

IMAGE, VECTOR = (80, 80, 4), (6,)
DINO = preset("dino")


def observations(shape, count=5) -> np.ndarray:
    rng = np.random.default_rng(0)
    if shape == IMAGE:
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return rng.normal(size=(count, *shape)).astype(np.float32)


def build(config: TrainConfig, shape: tuple[int, ...]) -> keras.Model:
    """A network with weights of its own."""
    network = build_network(config, shape, 3)
    rng = np.random.default_rng(3)
    network.set_weights([rng.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
    return network


def make_card(config: TrainConfig, shape: tuple[int, ...]) -> dict:
    dtype = "uint8" if shape == IMAGE else "float32"
    card = model_card(config, make_task(config.env))
    return card | {"observation_shape": shape, "observation_dtype": dtype}


@pytest.mark.parametrize("torso", TORSOS)
@pytest.mark.parametrize("dueling", [True, False])
def test_a_model_file_gives_equal_values(torso, dueling, tmp_path):
    network_config = replace(DINO.dqn.network, torso=torso, dueling=dueling)
    config = replace(DINO, dqn=replace(DINO.dqn, network=network_config))
    shape = VECTOR if torso == "dense" else IMAGE
    network, seen = build(config, shape), observations(shape)
    save_model(tmp_path / "m.h5", network, make_card(config, shape))
    player = KerasPlayer(tmp_path / "m.h5")
    expected = network(seen).numpy()
    assert expected.shape == (5, 3)
    assert expected.std() > 0
    np.testing.assert_allclose(player.values(seen), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(player.act(seen), expected.argmax(axis=1))
    assert player.card["settings"] == json.loads(json.dumps(to_data(config)))
    assert player.config == config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.h5", "m.json"]


def spec(shape: tuple[int, ...], num_actions: int) -> TaskSpec:
    actions = ("nothing", "jump", "duck")[:num_actions]
    return replace(
        make_task(DINO.env).spec, observation=ObservationSpec(shape, np.dtype(np.uint8)), actions=actions
    )


def test_a_player_knows_the_environment_of_its_model(tmp_path):
    env = replace(DINO.env, num_actions=2, decision_interval_frames=3)
    player = KerasPlayer(write_model(tmp_path / "m.h5", num_actions=2, env=env))
    assert player.config.env.decision_interval_frames == 3
    player.check(spec(IMAGE, 2))
    with pytest.raises(ModelError, match="3"):
        player.check(spec(IMAGE, 3))
    with pytest.raises(ModelError, match=r"\(80, 80, 2\)"):
        player.check(spec((80, 80, 2), 2))


def test_saving_replaces_a_model_and_its_card_together(tmp_path):
    path, seen = tmp_path / "best.h5", observations(IMAGE)
    for note in ("first", "second"):
        network = build(DINO, IMAGE)
        network.set_weights([weight * (1 if note == "first" else 2) for weight in network.get_weights()])
        save_model(path, network, {**make_card(DINO, IMAGE), "note": note})
    assert json.loads(card_path(path).read_text())["note"] == "second"
    np.testing.assert_allclose(KerasPlayer(path).values(seen), network(seen), rtol=1e-5, atol=1e-6)
