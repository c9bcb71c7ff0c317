"""A training run on disk: everything needed to go on exactly where it stopped."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.agents.learner import Learner
from dino_rl.backend import keras
from dino_rl.errors import RunError

NAME = "checkpoint"
ARRAYS = "replay.npz"
STATE = "state.json"


@contextmanager
def replacing(run_dir: Path, state: dict[str, Any]) -> Iterator[Path]:
    """A new `run_dir/checkpoint`: fill the directory given. The one before it stays until this one is whole.

    Args:
        run_dir: the run's directory.
        state: JSON-ready counters and random states.
    """
    part = run_dir / (NAME + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / STATE).write_text(json.dumps(state))
    yield part
    target, old = run_dir / NAME, run_dir / (NAME + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def save(run_dir: Path, learner: Learner, state: dict[str, Any]):
    """Write `run_dir/checkpoint`.

    Args:
        run_dir, state: as for `replacing`.
        learner: its networks are kept as .keras files, which resume exactly (.h5 would lose Adam's slots),
            its arrays compressed.
    """
    with replacing(run_dir, state | learner.counters()) as part:
        for name, network in learner.networks.items():
            network.save(part / f"{name}.keras")
        with zipfile.ZipFile(part / ARRAYS, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in learner.arrays().items():
                with archive.open(name + ".npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def load_state(run_dir: Path) -> dict[str, Any]:
    """Counters and random states of the checkpoint in `run_dir`.

    Raises:
        RunError: there is none.
    """
    path = directory(run_dir) / STATE
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{run_dir} holds no checkpoint to resume from: name a run directory.") from error


def load(run_dir: Path, learner: Learner, state: dict[str, Any]):
    """Put the checkpoint's networks, optimizers and arrays, and the counters in `state`, into `learner`."""
    source = directory(run_dir)
    try:
        networks = {
            name: keras.models.load_model(source / f"{name}.keras", compile=network.compiled)
            for name, network in learner.networks.items()
        }
        with np.load(source / ARRAYS, allow_pickle=False) as arrays:
            learner.restore(networks, dict(arrays), state)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"The checkpoint in {run_dir} is damaged ({reason}): start a new run.") from error


def directory(run_dir: Path) -> Path:
    """Where the checkpoint of a run lies."""
    current, old = run_dir / NAME, run_dir / (NAME + ".old")
    return current if current.exists() else old  # a stop between two renames leaves only the old one
