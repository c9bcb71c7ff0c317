"""Q-networks."""

import numpy as np
import pytest

from dino_rl.agents.networks import TORSOS, NetworkConfig, build_q_network, outputs_of
from dino_rl.backend import keras
from dino_rl.errors import DinoError

IMAGE, VECTOR = (80, 80, 4), (6,)


def observations(shape, count=5) -> np.ndarray:
    rng = np.random.default_rng(0)
    if shape == IMAGE:
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return rng.normal(size=(count, *shape)).astype(np.float32)


def build(torso: str, dueling: bool) -> tuple[keras.Model, np.ndarray]:
    """A network with weights of its own, and observations."""
    shape = VECTOR if torso == "dense" else IMAGE
    network = build_q_network(NetworkConfig(torso, dueling=dueling), shape, 3)
    rng = np.random.default_rng(3)
    network.set_weights([rng.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
    return network, observations(shape)


@pytest.mark.parametrize("torso", TORSOS)
@pytest.mark.parametrize("dueling", [True, False])
def test_a_network_has_one_value_for_each_action(torso, dueling):
    network, seen = build(torso, dueling)
    q_values = outputs_of(network)(seen)
    assert q_values.shape == (5, 3)
    assert q_values.dtype == np.float32
    assert q_values.std() > 0
    np.testing.assert_allclose(q_values, network(seen).numpy(), rtol=1e-5, atol=1e-6)


def test_width_and_activation_are_those_of_all_hidden_layers():
    network = build_q_network(NetworkConfig("dense", width=24, activation="tanh", dueling=True), VECTOR, 3)
    hidden = [
        layer for layer in network.layers if getattr(layer, "activation", None) is keras.activations.tanh
    ]
    assert [layer.units for layer in hidden] == [24, 24, 24]


def test_dueling_values_are_a_state_value_and_advantages_without_their_mean():
    network, seen = build("compact", dueling=True)
    parts = keras.Model(
        network.input, [network.get_layer("value").output, network.get_layer("advantage").output]
    )
    value, advantage = (part.numpy() for part in parts(seen))
    expected = value + advantage - advantage.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(network(seen).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dueling", [True, False])
def test_the_initial_value_is_added_to_all_values(dueling):
    """The same weights else, since a constant draws no random number."""
    values = []
    for initial_value in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        config = NetworkConfig("compact", dueling=dueling, initial_value=initial_value)
        values.append(build_q_network(config, IMAGE, 3)(observations(IMAGE)).numpy())
    np.testing.assert_allclose(values[1], values[0] + 1, rtol=0, atol=1e-5)


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
    assert build_q_network(NetworkConfig(), (84, 84, 4), 3).count_params() == 1_685_667


@pytest.mark.parametrize(("black", "white"), [(0.0, 1.0), (4.0, 0.0)])
def test_pixels_are_scaled_in_the_network(black, white):
    network = build_q_network(NetworkConfig("compact", input_range=(black, white)), IMAGE, 3)
    seen = observations(IMAGE)
    behind_the_scaling = keras.Model(network.layers[1].output, network.output)
    expected = behind_the_scaling(black + (white - black) * seen.astype(np.float32) / 255)
    np.testing.assert_allclose(network(seen), expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_network_is_named():
    with pytest.raises(DinoError, match=r"'resnet'.*compact"):
        build_q_network(NetworkConfig("resnet"), IMAGE, 3)


def test_a_network_for_images_refuses_vectors():
    with pytest.raises(DinoError, match=r"'nature' is for images.*dense"):
        build_q_network(NetworkConfig("nature"), VECTOR, 3)


def test_vectors_are_not_scaled():
    network, seen = build("dense", dueling=False)
    behind_the_scaling = keras.Model(network.layers[1].output, network.output)
    np.testing.assert_allclose(network(seen), behind_the_scaling(seen), rtol=1e-5, atol=1e-6)
