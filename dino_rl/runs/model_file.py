"""A model on disk: an .h5 file of weights and layers, and a card (JSON) beside it that describes the model.

A network is built from its card, and only numbers are read from the .h5 file. So a file of unknown origin
runs no code here, and a file that a newer Keras wrote still loads.
"""

import io
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py

from dino_rl import __version__
from dino_rl.backend import keras, tf
from dino_rl.errors import ModelError
from dino_rl.runs.output import reason, whole_file, write_json
from dino_rl.runs.run_directory import BEST_MODEL as BEST_MODEL  # its name in a run's directory

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


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
        data = json.loads(card.read_text(encoding="utf-8"))
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
    if not path.exists():
        raise ModelError(f"No model at {path}: train one (python run_dino.py train), or name another.")
    try:
        with path.open("rb") as file:
            magic = file.read(len(HDF5_MAGIC))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
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
        network.load_weights(path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged, or does not match its card ({reason(error)}).") from error


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
