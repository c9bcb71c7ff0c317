"""Passes the numbers of a run to trackers: TensorBoard, Weights & Biases, MLflow."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dino_rl.training.algorithm import Slice
from dino_rl.training.local import Decision, LocalAlgorithm
from dino_rl.training.run import Callback, Run

DECISIONS = 200  # the last ones of an interval, whose values are in its histogram
EPISODE_COLUMNS = ("score", "return", "length")
# The x axis and keys of the tables, not measurements.
NOT_LOGGED = ("step", "minutes", "episode", "env", "greedy")


class Tracker(Protocol):
    """Where the numbers of a run go. Steps are environment steps."""

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """The run begins, or continues at a step above 0.

        Args:
            settings: the configuration of the run, flat: {"dqn.learning_rate": 0.0003}.
            step: of the run. What was logged of later steps is of work that was lost.
        """
        ...

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log finite numbers by name."""
        ...

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """Log the distribution of finite numbers, float [n], n > 0."""
        ...

    def animation(self, name: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        """Log an animated GIF of (height, width)."""
        ...

    def flush(self) -> None:
        """Make what was logged visible."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, JSON-ready."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept. Called before `start`."""
        ...

    def close(self) -> None:
        """The run is over, or was stopped."""
        ...


class Track(Callback):
    """Logs the columns of a run's CSV files as TABLE/COLUMN, histograms of what the agent computes for its
    actions, and the frames at the end of the best validation game.

    Args:
        tracker: where to.
        settings: the configuration of the run, as nested plain data.
        actions: a name for each action.
        values_are: what the agent computes for each action, as a name: "q_values".
    """

    def __init__(
        self, tracker: Tracker, settings: Mapping[str, Any], actions: tuple[str, ...], values_are: str
    ):
        self._tracker = tracker
        self._settings = flat(settings)
        self._actions = actions
        self._values_are = values_are
        self._values: deque[np.ndarray] = deque(maxlen=DECISIONS)

    def on_start(self, run: Run) -> None:
        if isinstance(run.algorithm, LocalAlgorithm):
            run.algorithm.on_decision.append(self._keep)
        self._tracker.start(self._settings, run.step)

    def _keep(self, decision: Decision):
        self._values.append(decision.values)

    def on_slice(self, run: Run, part: Slice) -> None:
        if part.fault:
            self._values.clear()

    def on_episode(self, run: Run, row: dict[str, Any]) -> None:
        table = "episodes_greedy" if row["greedy"] else "episodes"
        self._log(table, {name: row[name] for name in EPISODE_COLUMNS}, run.step)

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._log("intervals", row, run.step)
        if self._values:
            values = np.concatenate(self._values)
            for i, action in enumerate(self._actions):
                self._histogram(f"{self._values_are}/{action}", values[:, i], run.step)
            self._values.clear()
        self._tracker.flush()

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        self._log("iterations", {name: value for name, value in row.items() if name != "returns"}, run.step)
        self._histogram("iterations/returns", np.asarray(row["returns"], float), run.step)
        self._tracker.flush()

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._log("validations", row, run.step)
        clip = row.get("clip")
        if clip is not None and row["best"]:
            height, width = clip.frames.shape[1:]
            self._tracker.animation("validations/best_game", clip.to_gif(), (height, width), run.step)
        self._tracker.flush()

    def _log(self, table: str, row: Mapping[str, Any], step: int):
        values = {
            f"{table}/{name}": float(value)
            for name, value in row.items()
            if name not in NOT_LOGGED and isinstance(value, int | float) and math.isfinite(value)
        }
        self._tracker.scalars(values, step)

    def _histogram(self, name: str, values: np.ndarray, step: int):
        values = values[np.isfinite(values)]
        if len(values):
            self._tracker.histogram(name, values, step)

    def state(self) -> dict[str, Any]:
        return self._tracker.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._tracker.restore(state)

    def close(self) -> None:
        self._tracker.close()


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested data as one level: {"a": {"b": 1}} -> {"a.b": 1}; without what is None."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            result[prefix + name] = value
    return result
