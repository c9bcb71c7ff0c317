"""A training run on disk: everything needed to go on exactly where it stopped."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dino_rl.agents.dqn import DQN
from dino_rl.agents.replay import Replay
from dino_rl.errors import RunError

NAME = "checkpoint"


def save(run_dir: Path, agent: DQN, replay: Replay, state: dict[str, Any]):
    """Write `run_dir/checkpoint`. The one before it stays until this one is whole.

    Args:
        run_dir: the run's directory.
        agent: networks and optimizer are kept as .keras files, which resume exactly (.h5 would lose
            Adam's slots).
        replay: kept compressed.
        state: JSON-ready counters and random states.
    """
    part = run_dir / (NAME + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    agent.q_network.save(part / "q_network.keras")
    agent.target_network.save(part / "target_network.keras")
    with zipfile.ZipFile(part / "replay.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in replay.state().items():
            with archive.open(name + ".npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    (part / "state.json").write_text(json.dumps(state))
    target, old = run_dir / NAME, run_dir / (NAME + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def load_state(run_dir: Path) -> dict[str, Any]:
    """Counters and random states of the checkpoint in `run_dir`.

    Raises:
        RunError: there is none.
    """
    path = _directory(run_dir) / "state.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{run_dir} holds no checkpoint to resume from: name a run directory.") from error


def load(run_dir: Path, agent: DQN, replay: Replay):
    """Put the checkpoint's networks, optimizer and replay into `agent` and `replay`."""
    directory = _directory(run_dir)
    try:
        online = keras.models.load_model(directory / "q_network.keras")
        target = keras.models.load_model(directory / "target_network.keras", compile=False)
        with np.load(directory / "replay.npz", allow_pickle=False) as arrays:
            replay.restore(dict(arrays))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"The checkpoint in {run_dir} is damaged ({reason}): start a new run.") from error
    agent.q_network.set_weights(online.get_weights())
    agent.target_network.set_weights(target.get_weights())
    agent.restore_optimizer(online.optimizer)


def _directory(run_dir: Path) -> Path:
    current, old = run_dir / NAME, run_dir / (NAME + ".old")
    return current if current.exists() else old  # a stop between two renames leaves only the old one
