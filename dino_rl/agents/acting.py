"""Acting by Q-values, epsilon-greedily: what all agents with a Q-network share."""

from __future__ import annotations

import numpy as np

from dino_rl.agents.agent import EpisodeValues
from dino_rl.agents.exploration import ExplorationConfig, Explorer, epsilon_greedy


class ValueActor:
    """Chooses actions in N environments.

    Args:
        config: the schedule and the kind of random actions.
        num_actions: A.
        num_envs, greedy_envs: N environments, of which the last `greedy_envs` do not explore.
        rng: drives the random actions.

    Attributes:
        epsilon: of the schedule, when `act` was last called.
        q_values: of the last observations, [N, A].
    """

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
        self._explorer = Explorer(config, num_actions, num_envs, greedy_envs, rng)
        self._epsilons = np.zeros(num_envs)
        self._episode_values = EpisodeValues(num_envs)
        self.epsilon = 0.0
        self.q_values = np.zeros((num_envs, num_actions), np.float32)

    def act(self, q_values: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        """Actions int64 [N] by the values [N, A], and the values."""
        self.epsilon = self._config.epsilon(progress)
        self._epsilons = self._explorer.epsilons(progress)
        self.q_values = q_values
        return self._explorer.choose(q_values, self._epsilons), q_values

    def act_greedily(self, q_values: np.ndarray) -> np.ndarray:
        """Actions for evaluation, int64 [B], by the values [B, A]."""
        return epsilon_greedy(q_values, self._config.epsilon_evaluation, self._rng)

    def observe(self, first: np.ndarray):
        """The environments stepped; `first`, bool [N]: the observation acted on was an episode's first."""
        self._episode_values.add(self.q_values, first)

    def reset(self):
        """End all random actions: the environments start new episodes."""
        self._explorer.reset()

    def episode_metrics(self, env: int) -> dict[str, float]:
        """About the episode that has just ended in environment `env`."""
        return {"epsilon": float(self._epsilons[env]), "q_mean": self._episode_values.mean(env)}
