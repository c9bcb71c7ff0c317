"""What the training loop asks of an algorithm. `algorithms.py` has those that answer."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dino_rl.backend import keras


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
        greedy: bool [N], `action` was the best by the network that acted.
    """

    observation: np.ndarray
    first: np.ndarray
    last: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray
    greedy: np.ndarray


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


def epsilon_greedy(values: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """The best action of each row of [N, A], or any; each row tosses its own coin. int64 [N].

    Args:
        values: of the actions.
        epsilon: share of random actions, all alike.
        rng: tosses the coins; left alone where `epsilon` is 0.
    """
    actions = values.argmax(axis=1)
    if epsilon:
        random = rng.integers(values.shape[1], size=len(actions))
        actions = np.where(rng.random(len(actions)) < epsilon, random, actions)
    return actions


class Explorer:
    """Epsilon-greedy whose random actions last: temporally extended epsilon-greedy (Dabney et al. 2020,
    https://arxiv.org/abs/2006.01782). A single step of a key among many greedy ones changes little; what
    only a longer press finds out would never be met.

    How many steps a random action lasts follows a zeta distribution, cut at `LONGEST`; it begins so rarely
    that epsilon stays the share of steps with a random action.

    Args:
        num_envs: N, environments that step together.
        exponent: of the zeta distribution, above 1; None: every random action lasts one step.
        weights: probabilities of the random actions; None: all alike.
        rng: tosses the coins.
    """

    LONGEST = 16

    def __init__(
        self, num_envs: int, exponent: float | None, weights: np.ndarray | None, rng: np.random.Generator
    ):
        self._rng = rng
        self._weights = weights
        lengths = np.arange(1, self.LONGEST + 1)
        shares = lengths == 1 if exponent is None else lengths**-exponent
        self._length_shares = shares / shares.sum()
        self._mean_length = float(lengths @ self._length_shares)
        self._held = np.zeros(num_envs, int)  # the random action of each environment
        self._left = np.zeros(num_envs, int)  # ... and the steps that it still lasts

    def choose(self, values: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
        """Actions, int64 [N], from their values [N, A]; epsilon [N] is the share of random steps."""
        # From greedy play, the share of random steps is mean * start / (1 - start + mean * start).
        start = epsilon / (epsilon + self._mean_length * (1 - epsilon))
        count = len(values)
        begins = (self._left == 0) & (self._rng.random(count) < start)
        actions = self._rng.choice(values.shape[1], size=count, p=self._weights)
        lengths = 1 + self._rng.choice(self.LONGEST, size=count, p=self._length_shares)
        self._held = np.where(begins, actions, self._held)
        self._left = np.where(begins, lengths, self._left)
        random = self._left > 0
        self._left -= random
        return np.where(random, self._held, values.argmax(axis=1))

    def stop(self):
        """All random actions end here: what follows is new."""
        self._left[:] = 0


class EpisodeValues:
    """The mean over each running episode of the best action's value, for N environments."""

    def __init__(self, num_envs: int):
        self._sums = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)

    def add(self, values: np.ndarray, first: np.ndarray):
        """Values of all actions, [N, A], of states of which some, bool [N], are the first of an episode."""
        self._sums = np.where(first, 0.0, self._sums) + values.max(axis=1)
        self._lengths = np.where(first, 0, self._lengths) + 1

    def mean(self, lane: int) -> float:
        """Of the episode that has just ended there."""
        return float(self._sums[lane] / max(1, self._lengths[lane]))


def restore_optimizer(ours: keras.Optimizer, saved: keras.Optimizer):
    """Take over the state of an optimizer loaded from a checkpoint."""
    for variable, kept in zip(ours.variables, saved.variables, strict=True):
        variable.assign(kept)


def mean(values: Collection[float]) -> float:
    """NaN where there are none."""
    return float(np.mean(list(values))) if values else float("nan")
