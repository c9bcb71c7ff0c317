"""What a run asks of an algorithm: a slice of playing and learning, again and again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dino_rl.errors import EnvError


@dataclass(frozen=True)
class Slice:
    """What happened in one call of `Algorithm.iterate`."""

    steps: int = 0
    """Environment steps, of all environments together."""
    episodes: list[dict[str, Any]] = field(default_factory=list)
    """Those that ended: env, greedy, score, return, length, and the columns of the algorithm and the task."""
    iteration: dict[str, Any] | None = None
    """What an iteration of the algorithm came to, if one ended (the cross-entropy method's)."""
    learn_s: float = 0.0
    """Time spent on learning."""
    wait_s: float = 0.0
    """Time spent on waiting for environments."""
    ends: list[dict[str, str]] = field(default_factory=list)
    """How each of the episodes ended, if that is known: see `Task.describe_end`."""
    fault: EnvError | None = None
    """Why the environments had to be made anew; their episodes were abandoned."""


class Algorithm(Protocol):
    """A way to play and to learn: in this process, with actors on Ray, or by RLlib.

    Attributes:
        episode_columns: names of the numbers in `Slice.episodes`, beside the common ones.
        interval_columns: names of `metrics`.
        iteration_columns: the numbers in `Slice.iteration` that are logged; empty: there are no iterations.
        model_file: name of what `save_model` writes in a run's directory, for `--model`.
    """

    @property
    def episode_columns(self) -> tuple[str, ...]: ...

    @property
    def interval_columns(self) -> tuple[str, ...]: ...

    @property
    def iteration_columns(self) -> tuple[str, ...]: ...

    @property
    def model_file(self) -> str: ...

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        ...

    def iterate(self, step: int, progress: float) -> Slice:
        """Play and learn for a moment: at most about a second.

        Args:
            step: environment steps so far.
            progress: of the run, 0 at its start and 1 at its end; schedules follow it.

        Raises:
            EnvError: the environments failed again and again.
        """
        ...

    def act_greedily(self, observations: np.ndarray) -> np.ndarray:
        """Actions int64 [N] of the agent as it is now, without exploration. Thread-safe."""
        ...

    def metrics(self, progress: float) -> dict[str, float]:
        """How learning went since the last call."""
        ...

    def save(self, run_dir: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint that `restore` continues from.

        Args:
            run_dir: of the run.
            state: JSON-ready facts of the run, to be kept with it.
        """
        ...

    def restore(self, run_dir: Path, state: dict[str, Any]) -> None:
        """Take over the checkpoint in `run_dir`, whose state was loaded."""
        ...

    def save_model(self, path: Path, card: dict[str, Any]) -> None:
        """Write the agent as it is now, to play with, and its card.

        Args:
            path: of the model: `model_file` in the run's directory, or a file of its kind.
            card: what is known of the model.
        """
        ...

    def close(self) -> None:
        """End the environments."""
        ...
