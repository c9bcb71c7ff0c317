"""DQN in a training loop: when to act randomly, what to remember, and when to update."""

from __future__ import annotations

from typing import Any

import numpy as np

from dino_rl.agents.agent import EpisodeValues, Transition, mean_or_nan
from dino_rl.agents.dqn import DQN, DQNConfig
from dino_rl.agents.exploration import Explorer, epsilon_greedy
from dino_rl.agents.networks import restore_optimizer
from dino_rl.agents.replay import Replay, ReplayBuffer
from dino_rl.backend import keras
from dino_rl.spec import ObservationSpec


class DQNAgent:
    """DQN as an `Agent`.

    Args:
        config: hyper-parameters.
        observation: of one environment.
        num_actions: A.
        num_envs, greedy_envs: N environments, of which the last `greedy_envs` do not explore.
        rng: drives the actions.
        replay_rng: drives the sampling.
        replay: a replay memory that the caller fills, by `remember`. None: the agent makes its own.
    """

    dqn_class = DQN
    interval_columns = ("loss", "q_mean", "epsilon", "learning_rate", "replay_frames")
    episode_columns = ("epsilon", "q_mean")
    iteration_columns = ()

    def __init__(
        self,
        config: DQNConfig,
        observation: ObservationSpec,
        num_actions: int,
        num_envs: int,
        greedy_envs: int,
        rng: np.random.Generator,
        replay_rng: np.random.Generator,
        replay: Replay | None = None,
    ):
        self._config = config
        self._rng = rng
        self._is_image = observation.is_image
        self.dqn = self.dqn_class(config, observation, num_actions)
        self.networks = self.dqn.networks
        if replay is None:
            replay = ReplayBuffer(
                config.replay,
                num_envs,
                observation,
                n_step=config.n_step,
                discount=config.discount,
                rng=replay_rng,
                cut_returns=config.cut_returns,
            )
        self.replay = replay
        self._explorer = Explorer(config.exploration, num_actions, num_envs, greedy_envs, rng)
        self._epsilon = 0.0  # of the schedule, when `act` was last called
        self._epsilons = np.zeros(num_envs)
        self._q_values = np.zeros((num_envs, num_actions))  # of the last observations
        self._episode_values = EpisodeValues(num_envs)
        self.samples_due = 0.0  # transitions that remain to be learned from
        self._losses: list[float] = []
        self._q_means: list[float] = []

    @property
    def updates(self) -> int:
        return self.dqn.updates

    @property
    def network(self) -> keras.Model:
        return self.dqn.acting_network

    # --- Acting --------------------------------------------------------------------------------------

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        self._epsilon = self._config.exploration.epsilon(progress)
        self._epsilons = self._explorer.epsilons(progress)
        self._q_values = self.dqn.q_values(observation)
        return self._explorer.choose(self._q_values, self._epsilons), self._q_values

    def act_greedily(self, observation: np.ndarray) -> np.ndarray:
        epsilon = self._config.exploration.epsilon_evaluation
        return epsilon_greedy(self.dqn.q_values(observation), epsilon, self._rng)

    # --- Learning ------------------------------------------------------------------------------------

    def observe(self, transition: Transition):
        assert isinstance(self.replay, ReplayBuffer), "the caller fills this memory, by `remember`"
        self._episode_values.add(self._q_values, transition.first)
        observation = transition.observation
        self.remember(self.replay, observation[..., -1] if self._is_image else observation, transition)

    def remember(self, replay: ReplayBuffer, frame: np.ndarray, transition: Transition):
        """Add one step to a replay buffer; learning from it becomes due.

        Args:
            replay: the agent's own, or a part of the memory that it was given.
            frame: [N, ...], the newest frames of the observations, or the vectors.
            transition: all the rest; its `observation` is not used.
        """
        reward, clip = transition.reward, self._config.reward_clip
        replay.add(
            frame,
            first=transition.first,
            action=transition.action,
            reward=reward if clip is None else np.clip(reward, -clip, clip),
            terminated=transition.terminated,
            truncated=transition.truncated,
            life_lost=transition.life_lost,
            greedy=transition.greedy,
        )
        self.samples_due += len(transition.action) * self._config.samples_per_insert

    def learn(self, step: int, progress: float) -> None:
        config = self._config
        if step < config.learning_starts:
            self.samples_due = 0.0
            return
        learning_rate = config.learning_rate_at(progress)
        count = config.updates_per_call
        while self.samples_due >= count * config.batch_size:
            self.samples_due -= count * config.batch_size
            batch = self.replay.sample(count * config.batch_size)
            update = self.dqn.update(batch, learning_rate, count)
            self.replay.update_priorities(batch.indices, update.td_error)
            self._losses += update.loss.tolist()
            self._q_means += update.q_mean.tolist()

    def reset(self):
        self._explorer.reset()
        self.replay.truncate_episodes()

    # --- Logging -------------------------------------------------------------------------------------

    def metrics(self, progress: float) -> dict[str, float]:
        metrics = {
            "loss": mean_or_nan(self._losses),
            "q_mean": mean_or_nan(self._q_means),
            "epsilon": self._epsilon,
            "learning_rate": self._config.learning_rate_at(progress),
            "replay_frames": len(self.replay),
        }
        self._losses, self._q_means = [], []
        return metrics

    def episode_metrics(self, env: int) -> dict[str, float]:
        return {"epsilon": float(self._epsilons[env]), "q_mean": self._episode_values.mean(env)}

    # --- Checkpoints ---------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        return self.replay.state()

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates, "learn_debt": self.samples_due}

    def restore(
        self, networks: dict[str, keras.Model], arrays: dict[str, np.ndarray], counters: dict[str, Any]
    ):
        for name, network in self.networks.items():
            network.set_weights(networks[name].get_weights())
        restore_optimizer(self.dqn.optimizer, networks["q_network"].optimizer)
        self.replay.restore(arrays)
        self.dqn.updates = counters["updates"]
        self.samples_due = counters["learn_debt"]
