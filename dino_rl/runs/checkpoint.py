"""The checkpoint of a training run: everything that is needed to continue exactly where the run stopped.

It is a directory: `state.json` (counters and random states), a .keras file with the weights of each network,
and `replay.npz` (large arrays). Algorithms with a format of their own fill the directory themselves.
"""

import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dino_rl.backend import keras
from dino_rl.errors import RunError
from dino_rl.runs.input import read_json
from dino_rl.runs.output import cannot_write, flush_to_disk, reason
from dino_rl.runs.untrusted import check_hdf5, check_zip

saving_lib = keras.src.saving.saving_lib

NAME = "checkpoint"
ARRAYS = "replay.npz"
STATE = "state.json"
WEIGHTS = "model.weights.h5"  # Keras's name of the weights in a .keras file
SPARE_BYTES = 2**20  # for names and headers of the files in an archive
DAMAGE = (  # what reading a damaged checkpoint raises, in zipfile, zlib, numpy, h5py, Keras, and here
    *(OSError, EOFError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def replacing(run_dir: Path, state: Mapping[str, Any]) -> Iterator[Path]:
    """Replace `run_dir/checkpoint`. The previous checkpoint stays until the new one is complete.

    Args:
        run_dir: the run's directory. It must exist.
        state: JSON-ready counters and random states.

    Yields:
        the directory to fill; it already holds `state`.

    Raises:
        RunError: it cannot be written. The previous checkpoint is unchanged.
    """
    target, part, old = (run_dir / (NAME + suffix) for suffix in ("", ".part", ".old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        (part / STATE).write_text(json.dumps(state), encoding="utf-8")
        yield part
        for path in part.rglob("*"):
            if path.is_file():
                flush_to_disk(path)
        if target.exists():  # else an earlier stop left only the old one: keep it until there is a new one
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save(
    run_dir: Path,
    networks: Mapping[str, keras.Model],
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
):
    """Write `run_dir/checkpoint`.

    Args:
        run_dir, state: as for `replacing`.
        networks: by name. Compiled ones are saved with their optimizers.
        arrays: by name; written compressed.

    Raises:
        RunError: it cannot be written. The previous checkpoint is unchanged.
    """
    with replacing(run_dir, state) as part:
        for name, network in networks.items():
            # Keras's own `save` passes through a temporary directory, which stays if the disk is full or the
            # process killed. This is the part of it that matters here: the weights, made in memory.
            with zipfile.ZipFile(part / f"{name}.keras", "w") as archive:
                store = saving_lib.H5IOStore(WEIGHTS, archive=archive, mode="w")
                saving_lib._save_state(network, store, None, inner_path="", visited_saveables=set())
                store.close()
        with zipfile.ZipFile(part / ARRAYS, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(name + ".npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


@contextmanager
def reading(run_dir: Path) -> Iterator[Path]:
    """Read the checkpoint in `run_dir`: what fails in the body because of its contents becomes a RunError.

    Yields:
        the checkpoint's directory.

    Raises:
        RunError: the body cannot use the contents.
    """
    try:
        yield directory(run_dir)
    except DAMAGE as error:
        what = repr(error) if isinstance(error, KeyError) else reason(error)  # only a name else
        raise RunError(f"The checkpoint in {run_dir} is damaged ({what}): start a new run.") from error


def load_state(run_dir: Path) -> dict[str, Any]:
    """The counters and random states of the checkpoint in `run_dir`.

    Raises:
        RunError: there is no checkpoint.
    """
    try:
        state = read_json(directory(run_dir) / STATE)
    except (OSError, ValueError) as error:
        raise RunError(f"{run_dir} has no checkpoint to resume from: name a run directory.") from error
    if not isinstance(state, dict):
        raise RunError(f"The checkpoint in {run_dir} is damaged ({STATE} is no mapping): start a new run.")
    return state


def load(run_dir: Path, networks: Mapping[str, keras.Model], max_bytes: int) -> dict[str, np.ndarray]:
    """Read the checkpoint in `run_dir`. Only numbers are read: a checkpoint of a stranger runs no code.

    Args:
        run_dir: the run's directory.
        networks: receive their weights, by name. Those that are compiled receive those of their optimizers.
        max_bytes: of the arrays. A checkpoint with larger ones is of something else.

    Returns:
        the arrays, by name.

    Raises:
        RunError: the checkpoint is damaged. The networks are of no use then.
    """
    with reading(run_dir) as source:
        for name, network in networks.items():
            _load_network(source / f"{name}.keras", network)
        check_zip(source / ARRAYS, max_bytes + SPARE_BYTES)
        with np.load(source / ARRAYS, allow_pickle=False) as arrays:
            return dict(arrays)


def _load_network(path: Path, network: keras.Model):
    variables = [*network.variables, *(network.optimizer.variables if network.compiled else ())]
    limit = sum(int(np.prod(variable.shape)) * 4 for variable in variables) * 2 + SPARE_BYTES
    check_zip(path, limit)
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS))) as file:
        check_hdf5(file, limit)
    network.load_weights(path)


def remove_leftovers(run_dir: Path):
    """Remove what a process that was killed left of a checkpoint. The caller holds the run's lock."""
    current, part, old = (run_dir / (NAME + suffix) for suffix in ("", ".part", ".old"))
    shutil.rmtree(part, ignore_errors=True)
    if current.exists():
        shutil.rmtree(old, ignore_errors=True)


def directory(run_dir: Path) -> Path:
    """The checkpoint of a run, whether it exists or not."""
    current, old = run_dir / NAME, run_dir / (NAME + ".old")
    return current if current.exists() or not old.exists() else old  # a stop between two renames leaves `old`
