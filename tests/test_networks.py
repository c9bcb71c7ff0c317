"""Q-networks, and models as files."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from conftest import write_model

from dino_rl.agents.networks import TORSOS, build_q_network
from dino_rl.backend import keras
from dino_rl.envs.catalog import Interface
from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import DinoError, ModelError
from dino_rl.results.model import Model, card_path, model_card, save_model
from dino_rl.settings import DQNSettings, RunSettings

IMAGE, VECTOR = (80, 80, 4), (6,)
MADE_FOR = {
    IMAGE: Interface(IMAGE, np.dtype(np.uint8), ACTIONS),
    VECTOR: Interface(VECTOR, np.dtype(np.float32), ACTIONS),
}


def observations(shape, count=5) -> np.ndarray:
    rng = np.random.default_rng(0)
    if shape == IMAGE:
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return rng.normal(size=(count, *shape)).astype(np.float32)


def build(name: str, dueling: bool) -> tuple[keras.Model, np.ndarray]:
    """A network with weights unlike those that any other gets, and something to look at."""
    shape = VECTOR if name == "dense" else IMAGE
    network = build_q_network(name, shape, 3, dueling, 1.0 if name == "dense" else 1 / 255)
    rng = np.random.default_rng(3)
    network.set_weights([rng.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
    return network, observations(shape)


@pytest.mark.parametrize("name", TORSOS)
@pytest.mark.parametrize("dueling", [True, False])
def test_a_model_file_gives_equal_values(name, dueling, tmp_path):
    network, seen = build(name, dueling)
    settings = RunSettings(dqn=DQNSettings(network=name, dueling=dueling))
    save_model(tmp_path / "m.h5", network, model_card(settings, MADE_FOR[network.input_shape[1:]]))
    loaded = Model(tmp_path / "m.h5")
    expected = network(seen).numpy()
    assert expected.shape == (5, 3)
    assert expected.std() > 0
    np.testing.assert_allclose(loaded.values(seen), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(loaded.act(seen), expected.argmax(axis=1))
    assert loaded.card["env"] == json.loads(json.dumps(asdict(settings.env)))
    assert loaded.env == settings.env
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.h5", "m.json"]


def test_dueling_values_are_a_state_value_and_advantages_without_their_mean():
    network, seen = build("compact", dueling=True)
    parts = keras.Model(
        network.input, [network.get_layer("value").output, network.get_layer("advantage").output]
    )
    value, advantage = (part.numpy() for part in parts(seen))
    expected = value + advantage - advantage.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(network(seen).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_tutorial_network_is_the_tutorials():
    network, _ = build("tutorial", dueling=False)
    kinds = [type(layer).__name__ for layer in network.layers[2:]]
    assert kinds == ["Conv2D", "MaxPooling2D"] * 3 + ["Flatten", "Dense", "Dense"]
    convs = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(c.filters, c.kernel_size[0], c.strides[0]) for c in convs] == [
        (32, 8, 4),
        (64, 4, 2),
        (64, 3, 1),
    ]
    assert [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)] == [512, 3]


def test_the_nature_network_has_the_papers_size():
    # 84x84 inputs as in the paper: 1,685,667 parameters with 3 actions (3,136 features into 512).
    assert build_q_network("nature", (84, 84, 4), 3, dueling=False, scale=1.0).count_params() == 1_685_667


def test_pixels_are_scaled_in_the_network():
    seen = observations(IMAGE)
    raw = build_q_network("compact", IMAGE, 3, True, 1.0)
    scaled = build_q_network("compact", IMAGE, 3, True, 1 / 255)
    scaled.set_weights(raw.get_weights())
    np.testing.assert_allclose(scaled(seen), raw(seen.astype(np.float32) / 255), rtol=1e-4, atol=1e-5)


def test_an_unknown_network_is_named():
    with pytest.raises(DinoError, match=r"'resnet'.*compact"):
        build_q_network("resnet", IMAGE, 3, True, 1.0)


def test_a_model_knows_which_environment_it_was_made_for(tmp_path):
    model = Model(write_model(tmp_path / "m.h5", num_actions=2, decision_interval_frames=3))
    assert model.env.decision_interval_frames == 3
    model.check(IMAGE, 2)
    with pytest.raises(ModelError, match="3"):
        model.check(IMAGE, 3)
    with pytest.raises(ModelError, match=r"\(80, 80, 2\)"):
        model.check((80, 80, 2), 2)


def test_saving_replaces_a_model_and_its_card_together(tmp_path):
    path = tmp_path / "best.h5"
    for note in ("first", "second"):
        network, seen = build("compact", dueling=True)
        network.set_weights([weight * (1 if note == "first" else 2) for weight in network.get_weights()])
        save_model(path, network, {**model_card(RunSettings(), MADE_FOR[IMAGE]), "note": note})
    assert json.loads(card_path(path).read_text())["note"] == "second"
    np.testing.assert_allclose(Model(path).values(seen), network(seen), rtol=1e-5, atol=1e-6)
