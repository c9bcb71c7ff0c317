"""What the training loop asks of an algorithm. `algorithms.py` has those that answer."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np


@dataclass(frozen=True)
class Step:
    """One step of N environments: what was seen and done, and what followed.

    Attributes:
        observation: [N, ...], what the actions answered.
        first: bool [N], `observation` is the first of an episode.
        last: bool [N], it is the last of one; under next-step autoreset the action on it does nothing.
        action: int64 [N].
        reward: float64 [N].
        terminated, truncated: bool [N], how the episode ended, if it did.
        life_lost: bool [N], the step cost a life, in games that have some; the episode may go on.
    """

    observation: np.ndarray
    first: np.ndarray
    last: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray


class Learner(Protocol):
    """An algorithm in the training loop, which acts, steps the environments, and has it learn meanwhile.

    Attributes:
        updates: gradient steps so far.
        networks: what a checkpoint keeps, by name; those that are compiled are kept with their optimizers.
        network: the one whose greedy actions are the agent's best.
        interval_columns: names of `interval_numbers`.
        episode_columns: names of `episode_numbers`.
        milestone_columns: names of those numbers in a milestone that a table keeps; none: no milestones.
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
    def milestone_columns(self) -> tuple[str, ...]: ...

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        """Actions int64 [N] to learn from, and the values float32 [N, A] behind them."""
        ...

    def play(self, observation: np.ndarray) -> np.ndarray:
        """Actions int64 [N] of the finished agent."""
        ...

    def learn(self, step: int, progress: float) -> dict[str, Any] | None:
        """Whatever updates are due after `step` environment steps, while the environments step.

        Returns:
            what there is to report of a milestone of the algorithm's own, if this was one.
        """
        ...

    def take(self, step: Step):
        """Remember what followed the last actions."""
        ...

    def break_off(self):
        """All episodes stop here without an end: what follows is new."""
        ...

    def interval_numbers(self, progress: float) -> dict[str, float]:
        """How learning went since the last call."""
        ...

    def episode_numbers(self, lane: int) -> dict[str, float]:
        """About the episode that has just ended there."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps beside the networks: large things."""
        ...

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps beside them: JSON-ready numbers."""
        ...

    def restore(
        self, networks: dict[str, keras.Model], arrays: dict[str, np.ndarray], counters: dict[str, Any]
    ):
        """Take over what a checkpoint kept.

        Raises:
            KeyError, ValueError: of a checkpoint that does not fit.
        """
        ...


def epsilon_greedy(
    values: np.ndarray,
    epsilon: np.ndarray | float,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The best action of each row of [N, A], or a random one; each row tosses its own coin. int64 [N].

    Args:
        values: of the actions.
        epsilon: share of random actions, of each row or of all.
        rng: tosses the coins; left alone where `epsilon` is 0.
        weights: probabilities of the random actions; None: all alike.
    """
    actions = values.argmax(axis=1)
    if np.any(epsilon):
        random = rng.choice(values.shape[1], size=len(actions), p=weights)
        actions = np.where(rng.random(len(actions)) < epsilon, random, actions)
    return actions


def mean(values: Collection[float]) -> float:
    """NaN where there are none."""
    return float(np.mean(list(values))) if values else float("nan")
