"""The checkpoint of a training run: everything that is needed to continue exactly where the run stopped.

It is a directory: `state.json` (counters and random states), one .keras file for each network, and
`replay.npz` (large arrays). Algorithms with a format of their own fill the directory themselves.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.backend import keras
from dino_rl.errors import RunError
from dino_rl.runs.output import cannot_write, flush_to_disk, reason

NAME = "checkpoint"
ARRAYS = "replay.npz"
STATE = "state.json"


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
        networks: by name. Compiled ones are saved with their optimizers. (.keras files continue exactly; .h5
            files would lose Adam's slots.)
        arrays: by name; written compressed.

    Raises:
        RunError: it cannot be written. The previous checkpoint is unchanged.
    """
    with replacing(run_dir, state) as part:
        for name, network in networks.items():
            network.save(part / f"{name}.keras")
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
        RunError: an OSError, EOFError, ValueError, KeyError or TypeError in the body.
    """
    try:
        yield directory(run_dir)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        what = repr(error) if isinstance(error, KeyError) else reason(error)  # only a name else
        raise RunError(f"The checkpoint in {run_dir} is damaged ({what}): start a new run.") from error


def load_state(run_dir: Path) -> dict[str, Any]:
    """The counters and random states of the checkpoint in `run_dir`.

    Raises:
        RunError: there is no checkpoint.
    """
    try:
        return json.loads((directory(run_dir) / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{run_dir} has no checkpoint to resume from: name a run directory.") from error


def load(
    run_dir: Path, networks: Mapping[str, keras.Model]
) -> tuple[dict[str, keras.Model], dict[str, np.ndarray]]:
    """The networks and arrays of the checkpoint in `run_dir`.

    Args:
        run_dir: the run's directory.
        networks: which ones to load, by name. Those that are compiled here are loaded with their optimizers.

    Returns:
        new networks and the arrays, by name.

    Raises:
        RunError: the checkpoint is damaged.
    """
    with reading(run_dir) as source:
        loaded = {
            name: keras.models.load_model(source / f"{name}.keras", compile=network.compiled)
            for name, network in networks.items()
        }
        with np.load(source / ARRAYS, allow_pickle=False) as arrays:
            return loaded, dict(arrays)


def directory(run_dir: Path) -> Path:
    """The checkpoint of a run, whether it exists or not."""
    current, old = run_dir / NAME, run_dir / (NAME + ".old")
    return current if current.exists() or not old.exists() else old  # a stop between two renames leaves `old`
