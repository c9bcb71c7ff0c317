"""Q-networks. Each maps a batch of observations to one value for each action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from dino_rl.activation import Activation
from dino_rl.backend import keras, tf
from dino_rl.errors import DinoError


@dataclass(frozen=True)
class NetworkConfig:
    """Layers of a Q-network. The defaults are those of Mnih et al. 2015."""

    torso: Literal["tutorial", "compact", "nature", "dense"] = "nature"
    """The layers before the head, a key of `TORSOS`: dense for vectors, the others for images."""
    width: Annotated[int, Ge(1)] | None = None
    """Units of each hidden dense layer. None: the torso's own (nature and tutorial 512, compact 256,
    dense 64)."""
    activation: Activation = "relu"
    """Of all hidden layers."""
    dueling: bool = False
    """Separate streams for the state value and the advantages (Wang et al. 2016,
    https://arxiv.org/abs/1511.06581)."""


def _tutorial(x, width, activation):
    """The network of most Chrome Dino tutorials: three conv layers, 2x2 max pooling after each."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, padding="same", activation=activation)(x)
        x = keras.layers.MaxPooling2D(2, padding="same")(x)
    return keras.layers.Flatten()(x), width or 512


def _compact(x, width, activation):
    """A small network for two cores. Half the filters in the first layers, which have the largest images."""
    for filters, kernel, stride in ((16, 8, 4), (32, 4, 2), (64, 3, 2)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, activation=activation)(x)
    return keras.layers.Flatten()(x), width or 256


def _nature(x, width, activation):
    """Mnih et al. 2015, https://doi.org/10.1038/nature14236, extended data table 1."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, activation=activation)(x)
    return keras.layers.Flatten()(x), width or 512


def _dense(x, width, activation):
    """For vectors: two hidden layers, of which the second is in the head."""
    width = width or 64
    return keras.layers.Dense(width, activation=activation)(keras.layers.Flatten()(x)), width


# Each maps (input, width, activation) to (features [B, n], width of the head's hidden layers).
TORSOS: dict[str, Callable] = {
    "tutorial": _tutorial,
    "compact": _compact,
    "nature": _nature,
    "dense": _dense,
}


def build_q_network(
    config: NetworkConfig, observation_shape: tuple[int, ...], num_actions: int
) -> keras.Model:
    """An untrained Q-network: observations [B, ...] -> values, float32 [B, num_actions].

    Args:
        config: its layers.
        observation_shape: without the batch axis. Images, [H, W, stack], are scaled from 0-255 to 0-1.
        num_actions: A.

    Raises:
        DinoError: no torso of that name, or a torso for images and observations that are vectors.
    """
    if config.torso not in TORSOS:
        raise DinoError(f"Unknown network {config.torso!r}: use one of {', '.join(TORSOS)}.")
    is_image = len(observation_shape) == 3
    if config.torso != "dense" and not is_image:
        raise DinoError(
            f"The network {config.torso!r} is for images, not for {observation_shape}: use dense."
        )
    observation = keras.Input(observation_shape, name="observation")
    scaled = keras.layers.Rescaling(1 / 255 if is_image else 1.0)(observation)
    features, width = TORSOS[config.torso](scaled, config.width, config.activation)

    def stream(outputs: int, role: str):
        hidden = keras.layers.Dense(width, activation=config.activation, name=f"{role}_hidden")(features)
        return keras.layers.Dense(outputs, name=role)(hidden)

    if config.dueling:
        advantage = stream(num_actions, "advantage")
        # Only differences between advantages are defined: subtract their mean over the actions. The mean is
        # made of plain layers because .h5 files cannot hold keras.ops.
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((num_actions, 1))(advantage))
        q = keras.layers.Add(name="q")([stream(1, "value"), keras.layers.Subtract()([advantage, mean])])
    else:
        q = stream(num_actions, "q")
    return keras.Model(observation, q, name=config.torso)


def outputs_of(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function from observations [B, ...] to outputs [B, A], traced once for each shape.

    It calls the traced function directly. The lookup that TensorFlow would do first, at each call, costs a
    quarter of the network's own time for the single decision of a live game.
    """
    compute = tf.function(lambda x: network(x, training=False), autograph=False)
    traced: dict[tuple, Callable] = {}

    def outputs(observations: np.ndarray) -> np.ndarray:
        key = (observations.shape, observations.dtype)
        if key not in traced:
            traced[key] = compute.get_concrete_function(tf.TensorSpec(*key))
        return traced[key](tf.constant(observations)).numpy()

    return outputs


def restore_optimizer(optimizer: keras.Optimizer, saved: keras.Optimizer):
    """Copy the state of an optimizer that was loaded from a checkpoint into `optimizer`."""
    for variable, saved_variable in zip(optimizer.variables, saved.variables, strict=True):
        variable.assign(saved_variable)
