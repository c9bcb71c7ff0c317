"""DQN in a training loop: when to act randomly, what to remember, and when to update."""

from __future__ import annotations

from typing import Any

import numpy as np

from dino_rl.agents.acting import ValueActor
from dino_rl.agents.agent import Transition, check_loss, mean_or_nan
from dino_rl.agents.dqn import DQN, DQNConfig
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
        self._actor = ValueActor(config.exploration, num_actions, num_envs, greedy_envs, rng)
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
        return self._actor.act(self.dqn.q_values(observation), progress)

    def act_greedily(self, observation: np.ndarray) -> np.ndarray:
        return self._actor.act_greedily(self.dqn.q_values(observation))

    # --- Learning ------------------------------------------------------------------------------------

    def observe(self, transition: Transition):
        assert isinstance(self.replay, ReplayBuffer), "the caller fills this memory, by `remember`"
        self._actor.observe(transition.first)
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
            values=transition.values,
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
            check_loss(update.loss, f"after {self.updates:,} updates", learning_rate)
            self.replay.update_priorities(batch.indices, update.td_error)
            self._losses += update.loss.tolist()
            self._q_means += update.q_mean.tolist()

    def reset(self):
        self._actor.reset()
        self.replay.truncate_episodes()

    # --- Logging -------------------------------------------------------------------------------------

    def metrics(self, progress: float) -> dict[str, float]:
        metrics = {
            "loss": mean_or_nan(self._losses),
            "q_mean": mean_or_nan(self._q_means),
            "epsilon": self._actor.epsilon,
            "learning_rate": self._config.learning_rate_at(progress),
            "replay_frames": len(self.replay),
        }
        self._losses, self._q_means = [], []
        return metrics

    def episode_metrics(self, env: int) -> dict[str, float]:
        return self._actor.episode_metrics(env)

    # --- Checkpoints ---------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        return self.replay.state()

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates, "learn_debt": self.samples_due}

    @property
    def max_array_bytes(self) -> int:
        return self.replay.max_bytes

    def restore(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]):
        num_actions = self._actor.q_values.shape[1]
        for name, array in arrays.items():
            if name.endswith("_action") and not ((array >= 0) & (array < num_actions)).all():
                raise ValueError("the replay memory holds actions that there are not")
        self.replay.restore(arrays)
        self.dqn.updates = int(counters["updates"])
        self.samples_due = float(counters["learn_debt"])
