"""Q-networks. Each maps a batch of observations to one value for each action."""

from collections.abc import Callable

import numpy as np

from dino_rl.backend import keras, tf
from dino_rl.errors import DinoError


def _tutorial(x, width, activation):
    """The tutorial that most people know: three conv layers, 2x2 max pooling after each, dense 512."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, padding="same", activation=activation)(x)
        x = keras.layers.MaxPooling2D(2, padding="same")(x)
    return keras.layers.Flatten()(x), width or 512


def _compact(x, width, activation):
    """A small one for two cores: most of its time goes where an image is still large."""
    for filters, kernel, stride in ((16, 8, 4), (32, 4, 2), (64, 3, 2)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, activation=activation)(x)
    return keras.layers.Flatten()(x), width or 256


def _nature(x, width, activation):
    """Mnih et al. 2015, https://doi.org/10.1038/nature14236, extended data table 1."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = keras.layers.Conv2D(filters, kernel, strides=stride, activation=activation)(x)
    return keras.layers.Flatten()(x), width or 512


def _dense(x, width, activation):
    """For vectors: two layers in all, the second of them in the head."""
    width = width or 64
    return keras.layers.Dense(width, activation=activation)(keras.layers.Flatten()(x)), width


TORSOS: dict[str, Callable] = {
    "tutorial": _tutorial,
    "compact": _compact,
    "nature": _nature,
    "dense": _dense,
}


def build_q_network(
    name: str,
    observation_shape: tuple[int, ...],
    num_actions: int,
    dueling: bool,
    scale: float,
    width: int | None = None,
    activation: str = "relu",
) -> keras.Model:
    """A Q-network: observations [B, ...] -> values, float32 [B, num_actions].

    Args:
        name: a key of `TORSOS`.
        observation_shape: without the batch axis; images as [H, W, stack].
        num_actions: one output for each.
        dueling: separate streams for state value and advantages (Wang et al. 2016,
            https://arxiv.org/abs/1511.06581).
        scale: observations are multiplied by this: 1/255 for images.
        width: units of each hidden dense layer; None: the network's own.
        activation: of all hidden layers.

    Raises:
        DinoError: no network of that name, or one for images where there is none.
    """
    if name not in TORSOS:
        raise DinoError(f"Unknown network {name!r}: use one of {', '.join(TORSOS)}.")
    if name != "dense" and len(observation_shape) != 3:
        raise DinoError(f"The network {name!r} is for images, not for {observation_shape}: use dense.")
    observation = keras.Input(observation_shape, name="observation")
    features, width = TORSOS[name](keras.layers.Rescaling(scale)(observation), width, activation)

    def stream(outputs: int, role: str):
        hidden = keras.layers.Dense(width, activation=activation, name=f"{role}_hidden")(features)
        return keras.layers.Dense(outputs, name=role)(hidden)

    if dueling:
        advantage = stream(num_actions, "advantage")
        # Only differences between actions count: [B, A] minus its mean over actions. Out of plain layers,
        # for .h5 files cannot hold keras.ops.
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((num_actions, 1))(advantage))
        values = keras.layers.Add(name="q")([stream(1, "value"), keras.layers.Subtract()([advantage, mean])])
    else:
        values = stream(num_actions, "q")
    return keras.Model(observation, values, name=name)


def outputs_of(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function from observations [B, ...] to outputs [B, A], traced once for each shape.

    The traced function itself is called: what TensorFlow looks up before that, at each call, costs a live
    game's single decision a quarter of the network's own time.
    """
    compute = tf.function(lambda x: network(x, training=False), autograph=False)
    traced: dict[tuple, Callable] = {}

    def outputs(observations: np.ndarray) -> np.ndarray:
        key = (observations.shape, observations.dtype)
        if key not in traced:
            traced[key] = compute.get_concrete_function(tf.TensorSpec(*key))
        return traced[key](tf.constant(observations)).numpy()

    return outputs
