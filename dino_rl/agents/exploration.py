"""The behaviour policy of DQN: epsilon-greedy, with a schedule and its own epsilon for each environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from dino_rl.errors import DinoError

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon-greedy. The schedule has two linear pieces that meet at a knee. The defaults are those of Mnih
    et al. 2015 (from 1 to 0.1 over the first million of 50 million frames)."""

    epsilon_start: Share = 1.0
    """Share of random actions at the start of the run."""
    epsilon_knee: Share = 0.1
    """Share of random actions at the knee of the schedule."""
    epsilon_knee_at: Share = 0.02
    """Position of the knee, as a share of the run."""
    epsilon_end: Share = 0.1
    """Share of random actions at the end of the run."""
    epsilon_floors: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] | None = None
    """Lowest epsilon of the first and of the last exploring environment; those between are spaced evenly in
    the logarithm. Without floors, the replay memory of a good agent contains almost no failures. None: no
    floors."""
    epsilon_evaluation: Share = 0.05
    """Share of random actions in evaluation. Some games have states that a deterministic policy never
    leaves. Mnih et al. 2015 use 0.05."""
    action_weights: tuple[Annotated[float, Ge(0)], ...] = ()
    """Relative probability of each action when acting randomly; weights beyond the number of actions are
    ignored. Empty: all actions are equally likely."""
    duration_exponent: Annotated[float, Gt(1)] | None = None
    """Exponent of the zeta distribution of the number of steps that a random action is repeated for
    (temporally extended epsilon-greedy, Dabney et al. 2020, https://arxiv.org/abs/2006.01782). None: every
    random action lasts one step."""

    def epsilon(self, progress: float) -> float:
        """Share of random actions when `progress`, 0 to 1, of the run is over."""
        if progress < self.epsilon_knee_at:
            share = progress / self.epsilon_knee_at
            return self.epsilon_start + (self.epsilon_knee - self.epsilon_start) * share
        share = (progress - self.epsilon_knee_at) / max(1 - self.epsilon_knee_at, 1e-9)
        return self.epsilon_knee + (self.epsilon_end - self.epsilon_knee) * min(1.0, share)


def epsilon_greedy(q_values: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """The best action of each row, or with probability epsilon a uniformly random one.

    Args:
        q_values: [B, A].
        epsilon: the same for all rows; each row is decided independently.
        rng: not used if epsilon is 0.

    Returns:
        actions, int64 [B].
    """
    actions = q_values.argmax(axis=1)
    if epsilon:
        random = rng.integers(q_values.shape[1], size=len(actions))
        actions = np.where(rng.random(len(actions)) < epsilon, random, actions)
    return actions


class Explorer:
    """Epsilon-greedy in N environments, each with its own epsilon.

    Random actions may be repeated: temporally extended epsilon-greedy (Dabney et al. 2020,
    https://arxiv.org/abs/2006.01782). One random step among many greedy ones changes little, so an agent
    never learns what only a longer key press does. Durations follow a zeta distribution, cut at
    `MAX_DURATION`. A repeated action starts less often, so that epsilon remains the share of random steps.

    Args:
        config: the schedule and the kind of random actions.
        num_actions: A.
        num_envs, greedy_envs: N, and how many of them, the last ones, do not explore.
        rng: drives all random choices.

    Raises:
        DinoError: fewer action weights than actions.
    """

    MAX_DURATION = 16  # steps

    def __init__(
        self,
        config: ExplorationConfig,
        num_actions: int,
        num_envs: int,
        greedy_envs: int,
        rng: np.random.Generator,
    ):
        self._config = config
        self._rng = rng
        weights = config.action_weights[:num_actions] or (1.0,) * num_actions
        if len(weights) < num_actions:
            raise DinoError(
                f"action_weights has {len(weights)} values for {num_actions} actions: "
                "give one for each action, or none."
            )
        self._action_probabilities = np.asarray(weights) / sum(weights)
        durations = np.arange(1, self.MAX_DURATION + 1)
        exponent = config.duration_exponent
        duration_weights = durations == 1 if exponent is None else durations**-exponent
        self._duration_probabilities = duration_weights / duration_weights.sum()
        self._mean_duration = float(durations @ self._duration_probabilities)
        exploring = num_envs - greedy_envs
        self._explores = np.arange(num_envs) < exploring
        self._floors = np.zeros(num_envs)
        if config.epsilon_floors:
            self._floors[:exploring] = np.geomspace(*config.epsilon_floors, exploring)
        self._repeated = np.zeros(num_envs, int)  # the last random action of each environment
        self._steps_left = np.zeros(num_envs, int)  # for which it is repeated

    def epsilons(self, progress: float) -> np.ndarray:
        """The epsilon of each environment when `progress`, 0 to 1, of the run is over: float64 [N]."""
        epsilon = self._config.epsilon(progress)
        return np.where(self._explores, np.maximum(epsilon, self._floors), 0.0)

    def choose(self, q_values: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
        """Actions, int64 [N], from the values of all actions [N, A] and the share of random steps [N]."""
        # In the long run the share of random steps is mean * start / (1 - start + mean * start), where start
        # is the probability that a greedy step is followed by a random action.
        start = epsilon / (epsilon + self._mean_duration * (1 - epsilon))
        count = len(q_values)
        starts = (self._steps_left == 0) & (self._rng.random(count) < start)
        actions = self._rng.choice(q_values.shape[1], size=count, p=self._action_probabilities)
        durations = 1 + self._rng.choice(self.MAX_DURATION, size=count, p=self._duration_probabilities)
        self._repeated = np.where(starts, actions, self._repeated)
        self._steps_left = np.where(starts, durations, self._steps_left)
        random = self._steps_left > 0
        self._steps_left -= random
        return np.where(random, self._repeated, q_values.argmax(axis=1))

    def reset(self):
        """End all random actions: the environments start new episodes."""
        self._steps_left[:] = 0
