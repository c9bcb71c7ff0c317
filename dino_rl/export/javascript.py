"""A trained Dino agent as one JavaScript file: `game/player.js` with the model in it."""

import base64
import json

import numpy as np

from dino_rl.envs.task import PlayOptions
from dino_rl.errors import ModelError
from dino_rl.export.network import Convolution, Dense, Layer, Network, Pooling, network_of
from dino_rl.player import Player
from dino_rl.resources import GAME_DIR

MARKER = "  /* MODEL: `export` writes it here */\n"
LINE_LENGTH = 120
# Of game/player.js.
ACTIVATIONS = ("linear", "relu", "leaky_relu", "elu", "selu", "tanh", "sigmoid", "silu")
MODULE_END = "\nexport default globalThis.dinoPlayer;\n"


def player_js(player: Player, bits: int = 16, module: bool = False) -> str:
    """The file's text.

    Args:
        player: a model that was trained for the Dino.
        bits: of each weight, 16 (half precision) or 32.
        module: end with an `export` statement. Such a file cannot be pasted into a console.

    Raises:
        ModelError: the model is not for the Dino, is none of Keras, or has what `game/player.js` cannot
            compute.
    """
    task = player.task
    if "in_page" not in task.play_defaults:
        raise ModelError(f"{player.path} plays {task.config.id}: player.js plays the Dino only.")
    player.check(task.spec)
    network = network_of(player)
    for layer in layers_in_order(network):
        if not isinstance(layer, Pooling) and layer.activation not in ACTIVATIONS:
            raise ModelError(
                f"{player.path} uses the activation {layer.activation}, which player.js does not have: "
                f"it has {', '.join(ACTIVATIONS)}."
            )
    observation = task.spec.observation
    model = {
        "about": player.path.name,
        "actions": task.spec.actions,
        "interval_ms": 1000 * task.pace_s(PlayOptions(clock="lockstep")),
        "stack": observation.stack_size,
        "stride": observation.stack_stride,
        "bits": bits,
        "black": network.offset,
        "white": network.offset + 255 * network.scale,
        "body": [_described(layer) for layer in network.body],
        "streams": {
            role: [_described(layer) for layer in stream] for role, stream in network.streams.items()
        },
    }
    template = (GAME_DIR / "player.js").read_text(encoding="utf-8")
    before, marker, after = template.partition(MARKER)
    assert marker, "game/player.js has no place for the model"
    fields = [f"    {json.dumps(name)}: {json.dumps(value)},\n" for name, value in model.items()]
    text = base64.b64encode(_weights(network, bits, player)).decode()
    lines = "\n".join(text[i : i + LINE_LENGTH] for i in range(0, len(text), LINE_LENGTH))
    literal = f'  {{\n{"".join(fields)}    "weights": `\n{lines}\n`,\n  }},\n'
    return before + literal + after + (MODULE_END if module else "")


def layers_in_order(network: Network) -> list[Layer]:
    """All layers in the order in which `game/player.js` takes their weights: the body, then each stream."""
    return [*network.body, *(layer for stream in network.streams.values() for layer in stream)]


def _described(layer: Layer) -> dict[str, object]:
    if isinstance(layer, Convolution):
        *kernel, _, filters = layer.weights.shape
        return {
            "kind": "convolution",
            "kernel": kernel,
            "strides": layer.strides,
            "same": layer.same,
            "filters": filters,
            "activation": layer.activation,
        }
    if isinstance(layer, Dense):
        return {"kind": "dense", "units": layer.weights.shape[1], "activation": layer.activation}
    return {"kind": "pooling"}


def _weights(network: Network, bits: int, player: Player) -> bytes:
    """Weights and bias of each layer, little-endian."""
    arrays = [
        array.ravel()
        for layer in layers_in_order(network)
        if not isinstance(layer, Pooling)
        for array in (layer.weights, layer.bias)
    ]
    with np.errstate(over="ignore"):
        numbers = np.concatenate(arrays).astype("<f2" if bits == 16 else "<f4")
    if not np.isfinite(numbers).all():
        raise ModelError(f"{player.path} has weights that {bits} bits cannot hold: use --weights 32.")
    return numbers.tobytes()
