"""A trained network as an ONNX file (https://onnx.ai), for use outside of this project."""

from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.errors import DinoError
from dino_rl.export.network import Convolution, Dense, Layer, Network, Pooling, network_of
from dino_rl.player import Player
from dino_rl.runs.output import whole_file

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # of ONNX 1.15, which introduced that opset
# ONNX's operator and attributes for each of Keras's activations. SiLU, which has none, is x * Sigmoid(x).
ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "gelu": ("Gelu", {}),
    "selu": ("Selu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": -1}),
}


def require_onnx() -> Any:
    """The package `onnx`.

    Raises:
        DinoError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise DinoError("Writing ONNX needs the package onnx: pip install onnx") from error
    return onnx


def write_onnx(player: Player, path: Path):
    """Write the network of a model.

    The file's input is "observation" (the model's own observations with a batch axis: uint8 [B, H, W, stack]
    for images, float32 [B, n] for vectors), its output "values", float32 [B, actions].

    Raises:
        DinoError: the package `onnx` is not installed.
        ModelError: the model is none of Keras, or has layers that cannot be exported.
        RunError: the file cannot be written.
    """
    onnx = require_onnx()
    network = network_of(player)
    model = _Graph(onnx, network).model(player)
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as part:
        part.write_bytes(model.SerializeToString())


class _Graph:
    """The nodes of an ONNX graph, in the order of computation."""

    def __init__(self, onnx: Any, network: Network):
        self._onnx = onnx
        self._network = network
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self, player: Player) -> Any:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        shape = self._network.observation_shape
        is_image = len(shape) == 3
        features = self._body(is_image)
        outputs = {role: self._stream(features, stream) for role, stream in self._network.streams.items()}
        if "advantage" in outputs:
            axes = self._constant(np.array([1], np.int64))
            mean = self._node("ReduceMean", [outputs["advantage"], axes], keepdims=1)
            centered = self._node("Sub", [outputs["advantage"], mean])
            result = self._node("Add", [centered, outputs["value"]])
        else:
            (result,) = outputs.values()
        self._nodes.append(helper.make_node("Identity", [result], ["values"]))
        num_actions = player.task.spec.num_actions
        graph = helper.make_graph(
            self._nodes,
            "dino_rl",
            [
                helper.make_tensor_value_info(
                    "observation", types.UINT8 if is_image else types.FLOAT, ["batch", *shape]
                )
            ],
            [helper.make_tensor_value_info("values", types.FLOAT, ["batch", num_actions])],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="dino-rl"
        )
        facts = {
            "environment": player.task.config.id,
            "actions": ", ".join(player.task.spec.actions),
            "values": player.values_are,
            "frame": player.task.spec.frame or "",
        }
        helper.set_model_props(model, facts)
        return model

    def _body(self, is_image: bool) -> str:
        """ONNX's images are [B, C, H, W]."""
        x = self._node("Cast", ["observation"], to=self._onnx.TensorProto.FLOAT)
        if self._network.scale != 1:
            x = self._node("Mul", [x, self._constant(np.float32(self._network.scale))])
        if self._network.offset:
            x = self._node("Add", [x, self._constant(np.float32(self._network.offset))])
        if is_image:
            x = self._node("Transpose", [x], perm=[0, 3, 1, 2])
        for layer in self._network.body:
            if is_image and isinstance(layer, Dense):
                x, is_image = self._flat(x), False
            x = self._layer(x, layer)
        return self._flat(x) if is_image else x

    def _flat(self, x: str) -> str:
        """Flattened in the order of Keras's images, [H, W, C]."""
        return self._node("Flatten", [self._node("Transpose", [x], perm=[0, 2, 3, 1])], axis=1)

    def _stream(self, x: str, stream: tuple[Dense, ...]) -> str:
        for layer in stream:
            x = self._layer(x, layer)
        return x

    def _layer(self, x: str, layer: Layer) -> str:
        if isinstance(layer, Pooling):
            return self._node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
        if isinstance(layer, Convolution):
            weights = self._constant(layer.weights.transpose(3, 2, 0, 1))  # [filters, C, KH, KW]
            x = self._node(
                "Conv",
                [x, weights, self._constant(layer.bias)],
                strides=layer.strides,
                auto_pad="SAME_UPPER" if layer.same else "VALID",
            )
        else:
            x = self._node("Gemm", [x, self._constant(layer.weights), self._constant(layer.bias)])
        return self._activated(x, layer.activation)

    def _activated(self, x: str, activation: str) -> str:
        if activation == "linear":
            return x
        if activation == "silu":
            return self._node("Mul", [x, self._node("Sigmoid", [x])])
        operator, attributes = ACTIVATIONS[activation]
        return self._node(operator, [x], **attributes)

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node. Returns the name of its output."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def _constant(self, values: np.ndarray | np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(values)
        if np.ndim(values) == 0:
            array = array.reshape(())
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name
