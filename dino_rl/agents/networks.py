"""Q-networks. Each maps a batch of observations to one value for each action."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from dino_rl.activation import Activation
from dino_rl.backend import keras, tf
from dino_rl.errors import DinoError

Precision = Literal["float32", "bfloat16"]
MAX_UNITS = 8192  # of a dense layer
CONVOLUTIONS = {  # of each torso for images: filters, size of the kernel, stride; both (rows, columns)
    "tutorial": ((32, (8, 8), (4, 4)), (64, (4, 4), (2, 2)), (64, (3, 3), (1, 1))),
    # For two cores: half the filters in the first layers, which have the largest images.
    "compact": ((16, (8, 8), (4, 4)), (32, (4, 4), (2, 2)), (64, (3, 3), (2, 2))),
    # Mnih et al. 2015, https://doi.org/10.1038/nature14236, extended data table 1.
    "nature": ((32, (8, 8), (4, 4)), (64, (4, 4), (2, 2)), (64, (3, 3), (1, 1))),
    # For a wide scene squeezed into a square: a pixel of the Dino's frame is 7.5 pixels of the game wide and
    # 1.6 high. Finer from left to right, where it matters when to jump, than from top to bottom.
    "wide": ((16, (8, 4), (8, 2)), (32, (4, 4), (2, 2)), (64, (3, 3), (2, 2))),
}
WIDTHS = {"tutorial": 512, "compact": 256, "nature": 512, "wide": 256, "dense": 64}


@dataclass(frozen=True)
class NetworkConfig:
    """Layers of a Q-network. The defaults are those of Mnih et al. 2015."""

    torso: Literal["tutorial", "compact", "nature", "wide", "dense"] = "nature"
    """The layers before the head, a key of `TORSOS`: dense for vectors, the others for images."""
    width: Annotated[int, Interval(ge=1, le=MAX_UNITS)] | None = None
    """Units of each hidden dense layer. None: the torso's own (nature and tutorial 512, compact and wide 256,
    dense 64)."""
    activation: Activation = "relu"
    """Of all hidden layers."""
    dueling: bool = False
    """Separate streams for the state value and the advantages (Wang et al. 2016,
    https://arxiv.org/abs/1511.06581)."""
    layer_norm: bool = False
    """Normalize each hidden layer's outputs before its activation (Ba et al. 2016,
    https://arxiv.org/abs/1607.06450); of a convolution's, each pixel's. Such a network cannot be exported."""
    input_range: tuple[float, float] = (0.0, 1.0)
    """What black and white pixels are for the first layer. Where most of an image is white, white should be
    0, and black so large that few dark pixels have an effect."""
    initial_value: float = 0.0
    """Added to all values before training (Sutton and Barto 2018, section 2.6, on optimistic initial values).
    With the value of an endless episode, an agent learns at once where episodes end, and not first, from
    one bootstrapped return to the next, that the others go on."""


def hidden_width(config: NetworkConfig) -> int:
    """Units of each hidden dense layer."""
    return config.width or WIDTHS[config.torso]


def _activated(x, layer, config: NetworkConfig):
    """A hidden layer, normalized if the network is, and its activation."""
    if not config.layer_norm:
        layer.activation = keras.activations.get(config.activation)
        return layer(x)
    normalized = keras.layers.LayerNormalization(name=f"{layer.name}_norm")(layer(x))
    return keras.layers.Activation(config.activation)(normalized)


def _tutorial(x, config: NetworkConfig):
    """The network of most Chrome Dino tutorials: three conv layers, 2x2 max pooling after each."""
    for filters, kernel, stride in CONVOLUTIONS["tutorial"]:
        x = _activated(x, keras.layers.Conv2D(filters, kernel, strides=stride, padding="same"), config)
        x = keras.layers.MaxPooling2D(2, padding="same")(x)
    return keras.layers.Flatten()(x)


def _convolutions(x, config: NetworkConfig):
    """Convolutions and nothing else."""
    for filters, kernel, stride in CONVOLUTIONS[config.torso]:
        x = _activated(x, keras.layers.Conv2D(filters, kernel, strides=stride), config)
    return keras.layers.Flatten()(x)


def _dense(x, config: NetworkConfig):
    """For vectors: two hidden layers, of which the second is in the head."""
    return _activated(keras.layers.Flatten()(x), keras.layers.Dense(hidden_width(config)), config)


# Each maps (input, config) to features [B, n].
TORSOS: dict[str, Callable] = {
    "tutorial": _tutorial,
    "compact": _convolutions,
    "nature": _convolutions,
    "wide": _convolutions,
    "dense": _dense,
}


def build_q_network(
    config: NetworkConfig,
    observation_shape: tuple[int, ...],
    num_actions: int,
    precision: Precision = "float32",
) -> keras.Model:
    """An untrained Q-network: observations [B, ...] -> values, float32 [B, num_actions].

    Args:
        config: its layers.
        observation_shape: without the batch axis. Images, [H, W, stack], are scaled from 0-255
            to the configured range.
        num_actions: A.
        precision: of the hidden layers' arithmetic. Weights and outputs are float32 in any case.

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
    black, white = config.input_range if is_image else (0.0, 255.0)
    with _arithmetic_in(precision):
        scaled = keras.layers.Rescaling((white - black) / 255, offset=black)(observation)
        features = TORSOS[config.torso](scaled, config)

    def stream(outputs: int, role: str, bias: float = 0.0):
        with _arithmetic_in(precision):
            hidden = _activated(
                features, keras.layers.Dense(hidden_width(config), name=f"{role}_hidden"), config
            )
        return keras.layers.Dense(outputs, bias_initializer=keras.initializers.Constant(bias), name=role)(
            hidden
        )

    if config.dueling:
        advantage = stream(num_actions, "advantage")
        # Only differences between advantages are defined: subtract their mean over the actions. The mean is
        # made of plain layers because .h5 files cannot hold keras.ops.
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((num_actions, 1))(advantage))
        q = keras.layers.Add(name="q")(
            [stream(1, "value", config.initial_value), keras.layers.Subtract()([advantage, mean])]
        )
    else:
        q = stream(num_actions, "q", config.initial_value)
    return keras.Model(observation, q, name=config.torso)


@contextmanager
def _arithmetic_in(precision: Precision) -> Iterator[None]:
    """Layers that are made meanwhile compute in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def count_weights(config: NetworkConfig, observation_shape: tuple[int, ...], num_actions: int) -> int:
    """Weights of the network that `build_q_network` makes, without making it: 0 where it cannot be made."""
    width = hidden_width(config)
    weights = 0
    norm = 2 if config.layer_norm else 0  # a scale and an offset for each unit or filter
    if config.torso == "dense":
        features = math.prod(observation_shape)
        weights += (features + 1 + norm) * width
        features = width
    else:
        if len(observation_shape) != 3:
            return 0
        *sides, channels = observation_shape
        for filters, kernel, stride in CONVOLUTIONS[config.torso]:
            weights += (math.prod(kernel) * channels + 1 + norm) * filters
            if config.torso == "tutorial":  # padded, and followed by a pooling of 2
                sides = [-(-side // (2 * step)) for side, step in zip(sides, stride, strict=True)]
            else:
                sides = [
                    max(0, (side - size) // step + 1)
                    for side, size, step in zip(sides, kernel, stride, strict=True)
                ]
            channels = filters
        features = math.prod(sides) * channels
    streams = (1, num_actions) if config.dueling else (num_actions,)
    return weights + sum((features + 1 + norm) * width + (width + 1) * outputs for outputs in streams)


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
