"""A model on disk: an .h5 file of weights and layers, and a card (JSON) beside it that describes the model.

A network is built from its card, and only numbers are read from the .h5 file. So a file of unknown origin
runs no code here, and a file that a newer Keras wrote still loads.
"""

import io
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dino_rl import __version__
from dino_rl.backend import keras, tf
from dino_rl.errors import ModelError, NotFiniteError
from dino_rl.program import command_line
from dino_rl.runs.input import open_file, read_json
from dino_rl.runs.output import reason, whole_file, write_json
from dino_rl.runs.run_directory import BEST_MODEL as BEST_MODEL  # its name in a run's directory
from dino_rl.runs.untrusted import check_hdf5

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
SPARE_BYTES = 2**24  # beside the weights: what an optimizer left
DAMAGE = (  # what reading a damaged .h5 file raises, in h5py and in Keras
    *(
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        TypeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
    ),
)


def save_model(path: Path, network: keras.Model, card: dict[str, Any]):
    """Write a network for inference, and its card.

    Raises:
        RunError: it cannot be written. A previous file is unchanged.
    """
    # Made in memory: if the disk is full while HDF5 itself writes, a later HDF5 call can crash the process.
    # Keras's public `save` takes no file object for .h5.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(network, file, include_optimizer=False)
    with whole_file(path) as part:
        part.write_bytes(content.getbuffer())
    save_card(path, card)


def save_card(path: Path, card: dict[str, Any]):
    """Write the card of the model at `path`.

    Raises:
        RunError: it cannot be written. A previous card is unchanged.
    """
    write_json(card_path(path), card)


def card_path(model_path: Path) -> Path:
    """models/best.h5 -> models/best.json"""
    return model_path.with_suffix(".json")


def load_card(path: Path) -> dict[str, Any]:
    """The card of the model at `path`.

    Raises:
        ModelError: it is missing, or is not a card.
    """
    card = card_path(path)
    try:
        data = read_json(card)
    except FileNotFoundError as error:
        raise ModelError(f"{path} has no card: put its card at {card}.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{card} is not a model card ({reason(error)}).") from error
    if not isinstance(data, dict):
        raise ModelError(f"{card} is not a model card (it holds no mapping).")
    return data


def check_file(path: Path):
    """Refuse what is not an .h5 file.

    Raises:
        ModelError: the file is missing, unreadable, or something else.
    """
    try:
        with open_file(path) as file:
            magic = file.read(len(HDF5_MAGIC))
    except FileNotFoundError as error:
        raise ModelError(
            f"No model at {path}: train one ({command_line('train')}), or name another."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({reason(error)}).") from error
    if magic != HDF5_MAGIC:
        raise ModelError(f"{path} is not a Keras .h5 model: it is empty, damaged, or something else.")


def load_weights(network: keras.Model, path: Path):
    """Load the weights of the .h5 file at `path` into a network that was built from its card.

    Raises:
        ModelError: the file is damaged, unsafe, or does not match the network.
    """
    try:
        with h5py.File(path) as file:
            if '"Lambda"' in str(file.attrs.get("model_config", "")):
                raise ModelError(f"{path} contains a Lambda layer, which can run any code: refused.")
            check_hdf5(file, 4 * 4 * network.count_params() + SPARE_BYTES)
        network.load_weights(path)
    except DAMAGE as error:
        raise ModelError(f"{path} is damaged, or does not match its card ({reason(error)}).") from error
    if not is_finite(network):
        raise ModelError(f"{path} holds weights that are not finite numbers: use another model.")


def is_finite(network: keras.Model) -> bool:
    """Whether all weights are finite numbers."""
    return all(np.isfinite(weights).all() for weights in network.get_weights())


def check_weights(networks: Mapping[str, keras.Model]):
    """Refuse networks, by name, that are of no use any more.

    Raises:
        NotFiniteError: a weight is NaN or infinite.
    """
    for name, network in networks.items():
        if not is_finite(network):
            raise NotFiniteError(f"Weights of {name} are not finite: lower the learning rate.")


def versions(environment: dict[str, str]) -> dict[str, str]:
    """Versions of everything that a result depends on, by name.

    Args:
        environment: versions of what the environment consists of.
    """
    packages = {name: version(name) for name in ("keras", "numpy", "gymnasium", "selenium")}
    return {
        "dino_rl": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        **packages,
        **environment,
        "machine": f"{platform.system()} {platform.machine()}",
    }
