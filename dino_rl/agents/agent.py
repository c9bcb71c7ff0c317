"""What a training loop asks of an algorithm. `dqn.py` and `cem.py` implement it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dino_rl.backend import keras
from dino_rl.errors import NotFiniteError


@dataclass(frozen=True)
class Transition:
    """One step of N environments under next-step autoreset.

    Attributes:
        observation: [N, ...], the observations that the actions were chosen on.
        first: bool [N], `observation` is the first of an episode.
        last: bool [N], `observation` is the last of an episode: the environment ignores the action and starts
            the next episode.
        action: int64 [N].
        reward: float64 [N].
        terminated, truncated: bool [N], the step ended the episode.
        life_lost: bool [N], the step cost a life, in games that have lives; the episode may go on.
        values: float32 [N, A], what the agent thought of all actions.
    """

    observation: np.ndarray
    first: np.ndarray
    last: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray
    values: np.ndarray

    @property
    def greedy(self) -> np.ndarray:
        """bool [N]: `action` had the highest value."""
        return self.action == self.values.argmax(axis=-1)


class Agent(Protocol):
    """An algorithm that acts in N environments and learns from what follows.

    A training loop calls `act`, steps the environments, calls `learn` meanwhile, and then `observe`.

    Attributes:
        updates: gradient steps so far.
        networks: all networks by name, for checkpoints. A compiled network is saved with its optimizer.
        network: the network whose greedy actions are the agent's best.
        interval_columns: keys of `metrics`.
        episode_columns: keys of `episode_metrics`.
        iteration_columns: keys of what `learn` returns that are logged; empty if the algorithm has no
            iterations.
    """

    networks: dict[str, keras.Model]

    @property
    def updates(self) -> int: ...

    @property
    def network(self) -> keras.Model: ...

    @property
    def interval_columns(self) -> tuple[str, ...]: ...

    @property
    def episode_columns(self) -> tuple[str, ...]: ...

    @property
    def iteration_columns(self) -> tuple[str, ...]: ...

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        """Choose actions for training.

        Args:
            observation: [N, ...].
            progress: share of the run that is over, 0 to 1.

        Returns:
            actions int64 [N], and the values of all actions, float32 [N, A].
        """
        ...

    def act_greedily(self, observation: np.ndarray) -> np.ndarray:
        """Actions for evaluation: observations [B, ...], of any number B -> int64 [B]."""
        ...

    def observe(self, transition: Transition):
        """Add what followed the last actions."""
        ...

    def learn(self, step: int, progress: float) -> dict[str, Any] | None:
        """Do the updates that are due after `step` environment steps.

        Returns:
            a summary of the algorithm's own iteration, if this call completed one.
        """
        ...

    def reset(self):
        """All running episodes were abandoned without an end. The next observations start new ones."""
        ...

    def metrics(self, progress: float) -> dict[str, float]:
        """How learning went since the last call."""
        ...

    def episode_metrics(self, env: int) -> dict[str, float]:
        """About the episode that has just ended in environment `env`."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Large state for a checkpoint, besides the networks."""
        ...

    @property
    def max_array_bytes(self) -> int:
        """Upper limit for the size of `arrays`."""
        ...

    def counters(self) -> dict[str, Any]:
        """Small, JSON-ready state for a checkpoint."""
        ...

    def restore(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]):
        """Continue from a checkpoint, whose networks have been loaded.

        Raises:
            KeyError, ValueError: the checkpoint is damaged, or from another kind of agent.
        """
        ...


def check_loss(loss: np.ndarray | float, when: str, learning_rate: float) -> None:
    """Refuse to learn on where learning has diverged.

    Args:
        loss: of one or more updates.
        when: they were made, for the message.
        learning_rate: of the updates.

    Raises:
        NotFiniteError: a loss is NaN or infinite.
    """
    if not np.isfinite(loss).all():
        wrong = np.ravel(loss)[~np.isfinite(np.ravel(loss))][0]
        raise NotFiniteError(f"The loss is {wrong} {when}: lower the learning rate ({learning_rate:g}).")


class EpisodeValues:
    """The mean over each running episode of the best action's value, for N environments."""

    def __init__(self, num_envs: int):
        self._sums = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)

    def add(self, q_values: np.ndarray, first: np.ndarray):
        """Add one step: values of all actions [N, A], and whether it is an episode's first, bool [N]."""
        self._sums = np.where(first, 0.0, self._sums) + q_values.max(axis=1)
        self._lengths = np.where(first, 0, self._lengths) + 1

    def mean(self, env: int) -> float:
        """Of the running episode, or the one that has just ended, in environment `env`."""
        return float(self._sums[env] / max(1, self._lengths[env]))


def mean_or_nan(values: Collection[float]) -> float:
    """The mean; NaN if there are no values."""
    return float(np.mean(list(values))) if values else float("nan")
