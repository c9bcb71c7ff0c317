"""Weights as plain numbers: an .npz file of arrays, for networks of libraries whose own files are pickles.

Only numbers are read from it, so that a file of a stranger runs no code.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dino_rl.errors import ModelError, NotFiniteError
from dino_rl.runs.output import reason, whole_file
from dino_rl.runs.untrusted import check_zip

WEIGHTS = "weights.npz"
SPARE_BYTES = 2**20  # for names and headers
DAMAGE = (OSError, EOFError, ValueError, LookupError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error)


def check_finite(arrays: Mapping[str, np.ndarray]):
    """Refuse weights that are of no use any more.

    Raises:
        NotFiniteError: one is NaN or infinite.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFiniteError(f"Weights of the model are not finite ({name}): lower the learning rate.")


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]):
    """Write arrays of finite numbers.

    Raises:
        NotFiniteError: one holds something else. A previous file is unchanged.
        RunError: the file cannot be written. A previous one is unchanged.
    """
    check_finite(arrays)
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Read arrays of known names and shapes.

    Args:
        path: of the file.
        like: arrays of the names and shapes that it must have.

    Raises:
        ModelError: it is damaged, holds other arrays, or numbers that are not finite.
    """
    try:
        check_zip(path, 2 * sum(array.nbytes for array in like.values()) + SPARE_BYTES)
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
        if {name: array.shape for name, array in found.items()} != {n: a.shape for n, a in like.items()}:
            raise ValueError("it holds weights of another network")
        if any(array.dtype.kind != "f" or not np.isfinite(array).all() for array in found.values()):
            raise ValueError("its weights are not finite numbers")
    except DAMAGE as error:
        raise ModelError(f"{path} is damaged, or does not match its card ({reason(error)}).") from error
    return found
