"""Weights & Biases and MLflow, where their packages are installed: `train --log wandb --log mlflow`."""

import importlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dino_rl.errors import DinoError, first_line
from dino_rl.training.tracking import Tracker
from dino_rl.workspace import Workspace

PROJECT = "dino-rl"  # of Weights & Biases, and name of MLflow's experiment
BINS = 30  # of a histogram
QUANTILES = (0.1, 0.5, 0.9)  # instead of a histogram, which MLflow does not know
MLFLOW_BATCH = 1000  # metrics in one request, at most: MLflow's limit
MLFLOW_PARAMS = 100  # parameters in one request, at most
MLFLOW_TEXT = 500  # letters of a parameter, at most, in all versions of MLflow

log = logging.getLogger(__name__)


def make_tracker(name: str, run_dir: Path) -> Tracker:
    """A tracker by its name: "tensorboard", "wandb" or "mlflow".

    Raises:
        DinoError: its package is not installed.
    """
    if name == "tensorboard":
        from dino_rl.training.tensorboard import TensorBoard

        return TensorBoard(run_dir)
    return WandB(run_dir) if name == "wandb" else MLflow(run_dir)


def _package(name: str, install: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DinoError(f"--log {name} needs a package: pip install {install}") from error


class WandB:
    """Logs to Weights & Biases (a `Tracker`). Its own environment variables choose project, entity and mode:
    WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline. A resumed run continues the one that it was.

    Args:
        run_dir: gives the run its name, and holds its files in the directory wandb/.

    Raises:
        DinoError: the package is not installed.
    """

    def __init__(self, run_dir: Path):
        self._wandb = _package("wandb", "wandb")
        self._run_dir = run_dir
        self._id: str | None = None
        self._run: Any = None

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """Start or continue a run.

        Raises:
            DinoError: Weights & Biases refused it, for example because nobody is logged in.
        """
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=self._run_dir.resolve().name,
                dir=str(self._run_dir),
                config=dict(settings),
                id=self._id,
                resume="allow" if self._id else None,
                settings=self._wandb.Settings(silent=True, console="off"),
            )
        except (self._wandb.Error, OSError) as error:
            raise DinoError(f"Weights & Biases does not start: {first_line(error)}") from error
        self._id = self._run.id

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        histogram = self._wandb.Histogram(np_histogram=np.histogram(values, BINS))
        self._run.log({name: histogram}, step=step)

    def animation(self, name: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        self._run.log({name: self._wandb.Video(io.BytesIO(gif), format="gif")}, step=step)

    def flush(self) -> None:
        """Its own process sends what was logged."""

    def state(self) -> dict[str, Any]:
        return {"wandb_id": self._id}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._id = state.get("wandb_id")

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None


class MLflow:
    """Logs to MLflow (a `Tracker`). MLflow's own environment variables choose server and experiment:
    MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME. A resumed run continues the one that it was.

    A server that stops answering does not end a training run: what it misses is reported and left out.

    Args:
        run_dir: gives the run its name.

    Raises:
        DinoError: the package is not installed.
    """

    def __init__(self, run_dir: Path):
        self._mlflow = _package("mlflow", "mlflow-skinny")
        self._client: Any = None
        self._name = run_dir.resolve().name
        self._id: str | None = None
        self._waiting: list[Any] = []  # metrics

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """Start or continue a run.

        Raises:
            DinoError: the server cannot be reached, or refused it.
        """
        from mlflow.entities import Param

        try:
            self._client = self._mlflow.MlflowClient()
            if self._id is None:
                name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
                experiment = self._client.get_experiment_by_name(name)
                number = experiment.experiment_id if experiment else self._client.create_experiment(name)
                self._id = self._client.create_run(number, run_name=self._name).info.run_id
                params = [Param(key, _text(value)[:MLFLOW_TEXT]) for key, value in settings.items()]
                for first in range(0, len(params), MLFLOW_PARAMS):
                    self._client.log_batch(self._id, params=params[first : first + MLFLOW_PARAMS])
            else:
                self._client.update_run(self._id, status="RUNNING")
        except (self._mlflow.exceptions.MlflowException, OSError) as error:
            raise DinoError(f"MLflow does not start: {first_line(error)}") from error

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._waiting += [Metric(name, value, now, step) for name, value in values.items()]
        if len(self._waiting) >= MLFLOW_BATCH:
            self.flush()

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        shares = np.quantile(values, QUANTILES)
        self.scalars(
            {f"{name}/p{100 * q:.0f}": float(v) for q, v in zip(QUANTILES, shares, strict=True)}, step
        )

    def animation(self, name: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        with Workspace() as directory:
            path = directory / f"step-{step:09}.gif"
            path.write_bytes(gif)
            self._send(self._client.log_artifact, str(path), name)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), MLFLOW_BATCH):
            self._send(self._client.log_batch, metrics=waiting[first : first + MLFLOW_BATCH])

    def _send(self, method: Any, *arguments: Any, **named: Any):
        try:
            method(self._id, *arguments, **named)
        except (self._mlflow.exceptions.MlflowException, OSError) as error:
            log.warning("MLflow missed a part of this run: %s", first_line(error))

    def state(self) -> dict[str, Any]:
        return {"mlflow_id": self._id}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._id = state.get("mlflow_id")

    def close(self) -> None:
        if self._client is not None:
            self.flush()
            self._send(self._client.set_terminated)
            self._client = None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
