"""Parallelised Q-network (Gallici et al. 2024, https://arxiv.org/abs/2407.04811): Q-learning without a replay
memory and without a target network.

All environments play a rollout of T steps. While they play the next one, the agent learns from the first in a
few epochs of minibatches, and then forgets it. LayerNorm keeps it stable. Deviations: docs/pqn.md.

In shapes, T is the number of steps of a rollout, N of environments, B of steps in a minibatch, A of actions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval

from dino_rl.agents.acting import ValueActor
from dino_rl.agents.agent import Transition, check_loss, mean_or_nan
from dino_rl.agents.dqn import move_towards
from dino_rl.agents.exploration import ExplorationConfig
from dino_rl.agents.lambda_returns import lambda_returns
from dino_rl.agents.networks import NetworkConfig, build_q_network, outputs_of
from dino_rl.backend import XLA_CONVOLUTIONS, keras, tf
from dino_rl.spec import ObservationSpec


@dataclass(frozen=True)
class PQNConfig:
    """Hyper-parameters. The defaults are those of CleanRL's pqn.py for CartPole, but for the exploration."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(torso="dense", layer_norm=True))
    """Layers of the Q-network."""
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    """The behaviour policy."""
    rollout_steps: Annotated[int, Interval(ge=1, le=65_536)] = 128
    """Steps of each environment in a rollout, T."""
    epochs: Annotated[int, Interval(ge=1, le=1_000)] = 4
    """Passes over a rollout."""
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 128
    """Steps of a minibatch."""
    trace_decay: Annotated[float, Interval(ge=0, le=1)] = 0.65
    """Lambda: 0 bootstraps after each step, 1 only at the end of a rollout."""
    cut_returns: bool = False
    """Returns end before an action that is not greedy (Watkins 1989); else they go on (Peng 1993)."""
    discount: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount factor of one environment step."""
    learning_rate: Annotated[float, Gt(0)] = 2.5e-4
    """Of Adam, at the start of the run."""
    learning_rate_end: Annotated[float, Ge(0)] = 0.0
    """Of Adam, at the end of the run; the decay is linear."""
    gradient_clip_norm: Annotated[float, Gt(0)] = 10.0
    """Upper limit of the gradient's global norm."""
    average_share: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """The network that is saved is a running mean over about this share of all updates so far."""

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate when `progress`, 0 to 1, of the run is over."""
        return self.learning_rate + (self.learning_rate_end - self.learning_rate) * progress


class PQN:
    """PQN as an `Agent`. The arguments are those of `DQNAgent`; `replay_rng` shuffles the minibatches."""

    interval_columns = ("loss", "q_mean", "epsilon", "learning_rate")
    episode_columns = ("epsilon", "q_mean")
    iteration_columns = ()

    def __init__(
        self,
        config: PQNConfig,
        observation: ObservationSpec,
        num_actions: int,
        num_envs: int,
        greedy_envs: int,
        rng: np.random.Generator,
        replay_rng: np.random.Generator,
    ):
        self._config, self._replay_rng = config, replay_rng
        self.updates = 0
        names = ("q_network", "average_network")
        self.networks = {
            name: build_q_network(config.network, observation.shape, num_actions) for name in names
        }
        self._q_network, self.network = self.networks.values()
        self.network.set_weights(self._q_network.get_weights())
        self._optimizer = keras.optimizers.Adam(
            config.learning_rate, global_clipnorm=config.gradient_clip_norm
        )
        self._q_network.compile(optimizer=self._optimizer)  # so that saving it saves Adam's slots, too
        self._optimizer.build(self._q_network.trainable_variables)
        self._q_values, self._average_values = outputs_of(self._q_network), outputs_of(self.network)
        xla = XLA_CONVOLUTIONS or not observation.is_image  # as for DQN
        self._compiled_update = tf.function(self._update, jit_compile=xla, autograph=False)
        self._compiled_step = tf.function(self._step, jit_compile=True, autograph=False)
        self._actor = ValueActor(config.exploration, num_actions, num_envs, greedy_envs, rng)
        self._rollout: list[
            tuple[np.ndarray, Transition]
        ] = []  # values of the best actions, and what followed
        self._batches: deque[np.ndarray] = (
            deque()
        )  # of the last rollout: indices of steps, to be learned from
        self._batches_per_call = 0
        self._steps: tuple[np.ndarray, ...] = ()  # observation, action and return of its steps, [T * N, ...]
        self._losses: list[float] = []
        self._q_means: list[float] = []

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        return self._actor.act(self._q_values(observation), progress)

    def act_greedily(self, observation: np.ndarray) -> np.ndarray:
        return self._actor.act_greedily(self._average_values(observation))

    def observe(self, transition: Transition):
        self._actor.observe(transition.first)
        self._rollout.append((self._actor.q_values.max(axis=1), transition))

    # --- Learning ------------------------------------------------------------------------------------

    def learn(self, step: int, progress: float) -> None:
        """The minibatches are spread evenly over the calls of the next rollout."""
        if len(self._rollout) > self._config.rollout_steps:  # with one more step, whose value is needed
            self._end_rollout()
        rate = self._config.learning_rate_at(progress)
        for _ in range(min(self._batches_per_call, len(self._batches))):
            batch = self._batches.popleft()
            self.updates += 1
            average_rate = 1 / max(1.0, self._config.average_share * self.updates)
            loss, q_mean = self._compiled_update(
                *(array[batch] for array in self._steps), np.float32(rate), np.float32(average_rate)
            )
            check_loss(float(loss), f"after {self.updates:,} updates", rate)
            self._losses.append(float(loss))
            self._q_means.append(float(q_mean))

    def _end_rollout(self):
        config, played = self._config, [transition for _, transition in self._rollout[:-1]]
        value = np.stack([values for values, _ in self._rollout])
        greedy = np.stack([transition.greedy for _, transition in self._rollout])
        reward = np.stack([step.reward for step in played])
        terminated = np.stack([step.terminated | step.life_lost for step in played])
        cut = np.stack([step.truncated for step in played]) | (config.cut_returns & ~greedy[1:])
        returns = lambda_returns(reward, value, terminated, cut, config.discount, config.trace_decay)
        self._steps = (
            np.concatenate([step.observation for step in played]),
            np.concatenate([step.action for step in played]).astype(np.int32),
            returns.ravel(),
        )
        # The environment ignores the action on an episode's last observation.
        valid = np.flatnonzero(~np.concatenate([step.last for step in played]))
        for _ in range(config.epochs):
            order = self._replay_rng.permutation(valid)
            count = len(order) // config.batch_size
            self._batches.extend(order[: count * config.batch_size].reshape(count, -1))
        self._batches_per_call = -(-len(self._batches) // config.rollout_steps)  # rounded up
        self._rollout = self._rollout[-1:]

    def _update(self, observation, action, td_target, learning_rate, average_rate):
        self._optimizer.learning_rate.assign(learning_rate)
        with tf.GradientTape() as tape:
            q = tf.gather(self._q_network(observation, training=True), action, batch_dims=1)  # [B]
            loss = 0.5 * tf.reduce_mean((td_target - q) ** 2)
        self._compiled_step(tape.gradient(loss, self._q_network.trainable_variables), average_rate)
        return loss, tf.reduce_mean(q)

    def _step(self, gradients, average_rate):
        self._optimizer.apply(gradients, self._q_network.trainable_variables)
        move_towards(self.network, self._q_network, average_rate)

    def reset(self):
        self._actor.reset()
        self._rollout = []

    # --- Logging and checkpoints ---------------------------------------------------------------------

    def metrics(self, progress: float) -> dict[str, float]:
        metrics = {
            "loss": mean_or_nan(self._losses),
            "q_mean": mean_or_nan(self._q_means),
            "epsilon": self._actor.epsilon,
            "learning_rate": self._config.learning_rate_at(progress),
        }
        self._losses, self._q_means = [], []
        return metrics

    def episode_metrics(self, env: int) -> dict[str, float]:
        return self._actor.episode_metrics(env)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}  # a resumed run plays its rollout anew

    max_array_bytes = 0

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def restore(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]):
        self.updates = int(counters["updates"])
