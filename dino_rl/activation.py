"""Names of activation functions that Keras and PyTorch share."""

from typing import Literal

Activation = Literal["relu", "tanh", "elu", "gelu", "silu", "selu", "leaky_relu", "sigmoid"]
