"""A trained network as plain arrays: what the writers of other formats read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.errors import ModelError
from dino_rl.player import KerasPlayer, Player


@dataclass(frozen=True)
class Convolution:
    """A convolution. Images are [H, W, C]."""

    weights: np.ndarray
    """float32 [KH, KW, C, filters]."""
    bias: np.ndarray
    """float32 [filters]."""
    strides: tuple[int, int]
    """From row to row, and from column to column."""
    same: bool
    """Zero padding, so that the strides alone decide the output's size; else no padding."""
    activation: str
    """Keras's name; "linear": none."""


@dataclass(frozen=True)
class Pooling:
    """Maximum of each 2x2 square; the last row and column may have less than 2."""


@dataclass(frozen=True)
class Dense:
    """A dense layer. An image is flattened in the order [H, W, C]."""

    weights: np.ndarray
    """float32 [inputs, units]."""
    bias: np.ndarray
    """float32 [units]."""
    activation: str


Layer = Convolution | Pooling | Dense


@dataclass(frozen=True)
class Network:
    """A network: a body, and one or two streams that start from the body's output.

    With streams "value" and "advantage", the outputs are value + advantage - mean(advantage). Otherwise there
    is one stream: "q" (Q-values) or "policy" (probabilities).
    """

    observation_shape: tuple[int, ...]
    scale: float
    """Factor of the observation before the first layer."""
    offset: float
    """Added to the scaled observation."""
    body: tuple[Layer, ...]
    streams: dict[str, tuple[Dense, ...]]


def network_of(player: Player) -> Network:
    """The network of a trained model.

    Raises:
        ModelError: the model is none of Keras, or has layers that are unknown here.
    """
    if not isinstance(player, KerasPlayer):
        raise ModelError(f"{player.path} is a model of RLlib: only .h5 models can be exported.")
    shape = tuple(int(side) for side in player.network.input_shape[1:])
    scale, offset = 1.0, 0.0
    body: list[Layer] = []
    streams: dict[str, list[Dense]] = {}
    for layer in player.network.layers:
        kind = type(layer).__name__
        if kind == "Rescaling":
            scale, offset = float(layer.scale), float(layer.offset)
        elif kind == "Conv2D":
            body.append(_convolution(layer))
        elif kind == "MaxPooling2D":
            body.append(_pooling(layer, player.path))
        elif kind == "Dense":
            dense = Dense(*_arrays(layer), activation=_activation(layer))
            role = layer.name.removesuffix("_hidden")
            if role in ("q", "value", "advantage"):
                streams.setdefault(role, []).append(dense)
            else:
                body.append(dense)
        elif kind not in _JOINTS:
            raise ModelError(f"{player.path} has a layer that cannot be exported ({kind}).")
    if not streams:  # a policy: its last layer is its only head
        last = body.pop()
        assert isinstance(last, Dense)
        streams["policy"] = [last]
    heads = {role: tuple(stream) for role, stream in streams.items()}
    return Network(shape, scale, offset, tuple(body), heads)


# Layers without weights that `Network` describes by its fields.
_JOINTS = ("InputLayer", "Flatten", "Reshape", "GlobalAveragePooling1D", "Subtract", "Add")


def _convolution(layer: Any) -> Convolution:
    rows, columns = map(int, layer.strides)
    return Convolution(*_arrays(layer), (rows, columns), layer.padding == "same", _activation(layer))


def _pooling(layer: Any, path: Path) -> Pooling:
    if (*layer.pool_size, *layer.strides, layer.padding) != (2, 2, 2, 2, "same"):
        raise ModelError(f"{path} has a pooling layer that cannot be exported ({layer.get_config()}).")
    return Pooling()


def _arrays(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    weights, bias = layer.get_weights()
    return weights.astype(np.float32), bias.astype(np.float32)


def _activation(layer: Any) -> str:
    return layer.activation.__name__
