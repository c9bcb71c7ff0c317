"""Deep Q-learning (Mnih et al. 2015, https://doi.org/10.1038/nature14236) and its extensions.

The algorithm, in the order of a training loop (`dqn_agent.py`):

1. Act epsilon-greedily by the values of a network (`exploration.py`).
2. Store what followed in the replay buffer (`replay.py`).
3. Sample a minibatch of n-step transitions.
4. Update the Q-network towards their TD targets, and move the target network. That is what this file does.

In shapes, B is the number of transitions of a minibatch and A the number of actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Interval

from dino_rl.agents.exploration import ExplorationConfig
from dino_rl.agents.networks import NetworkConfig, Precision, build_q_network, outputs_of
from dino_rl.agents.replay import Batch, ReplayConfig
from dino_rl.backend import XLA_CONVOLUTIONS, keras, tf
from dino_rl.spec import ObservationSpec


@dataclass(frozen=True)
class DQNConfig:
    """Hyper-parameters. The defaults are those of Mnih et al. 2015, but with Adam instead of RMSProp, and
    gradients clipped as by Wang et al. 2016."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Layers of the Q-network."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """The replay memory."""
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    """The behaviour policy."""
    double: bool = False
    """Double Q-learning (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461)."""
    n_step: Annotated[int, Interval(ge=1, le=10_000)] = 1
    """Rewards in a return before it bootstraps (as in Hessel et al. 2018, https://arxiv.org/abs/1710.02298)."""
    cut_returns: bool = False
    """n-step returns end before an action that is not greedy (Watkins 1989, see `ReplayBuffer`)."""
    discount: Annotated[float, Interval(ge=0, le=1)] = 0.99
    """Discount factor of one environment step."""
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 32
    """Transitions of a minibatch."""
    samples_per_insert: Annotated[float, Ge(0)] = 8.0
    """Transitions to learn from for each environment step: 8 is a minibatch of 32 every 4 steps."""
    learning_starts: Annotated[int, Ge(0)] = 50_000
    """Environment steps before the first update."""
    learning_rate: Annotated[float, Gt(0)] = 2.5e-4
    """Of Adam, until the decay begins."""
    learning_rate_end: Annotated[float, Ge(0)] = 2.5e-4
    """Of Adam, at the end of the run; the decay is linear."""
    learning_rate_decay_from: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of the run after which the decay begins."""
    gradient_clip_norm: Annotated[float, Gt(0)] = 10.0
    """Upper limit of the gradient's global norm (Wang et al. 2016, https://arxiv.org/abs/1511.06581)."""
    target_update_rate: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of the way to the Q-network that the target network moves: 1 copies it; less makes it a running
    mean (Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971)."""
    target_update_period: Annotated[int, Ge(1)] = 10_000
    """Updates from one such move to the next."""
    acting_network: Literal["online", "target", "average"] = "online"
    """The network that chooses actions. online: the Q-network; target: the target network, which plays better
    if it is a running mean; average: a third network, a longer running mean, which plays better still."""
    average_share: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """The average network is a running mean over about this share of all updates so far."""
    reward_clip: Annotated[float, Gt(0)] | None = 1.0
    """Rewards are clipped to plus or minus this. None: not clipped."""
    precision: Precision = "float32"
    """Of the hidden layers while learning; weights and values are float32, and so is all of the average
    network. bfloat16 is faster on CPUs that compute in it (AVX512-BF16, AMX), and slower on others."""
    updates_per_call: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Updates in one TensorFlow call. More than 1 is faster for dense networks, whose updates take less time
    than the call itself, and much slower for convolutions."""

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate when `progress`, 0 to 1, of the run is over."""
        share = (progress - self.learning_rate_decay_from) / max(1 - self.learning_rate_decay_from, 1e-9)
        share = min(1.0, max(0.0, share))
        return self.learning_rate + (self.learning_rate_end - self.learning_rate) * share


class Update(NamedTuple):
    """Results of an update: loss [], mean Q-value of the minibatch's actions [], TD errors [B]; float32."""

    loss: Any
    q_mean: Any
    td_error: Any


class DQN:
    """The networks and the update.

    Args:
        config: hyper-parameters.
        observation: of one environment.
        num_actions: A.

    Attributes:
        networks: "q_network", "target_network", and "average_network" if that one acts.
        updates: how many were made.
    """

    make_network = staticmethod(build_q_network)

    def __init__(self, config: DQNConfig, observation: ObservationSpec, num_actions: int):
        self.config = config
        self.updates = 0
        names = ["q_network", "target_network"] + ["average_network"] * (config.acting_network == "average")
        self.networks = {
            name: self.make_network(
                config.network,
                observation.shape,
                num_actions,
                "float32" if name == "average_network" else config.precision,
            )
            for name in names
        }
        self.q_network, self.target_network = self.networks["q_network"], self.networks["target_network"]
        for name in names[1:]:
            self.networks[name].set_weights(self.q_network.get_weights())
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        self.q_network.compile(optimizer=self.optimizer)  # so that saving the network saves Adam's slots too
        self.optimizer.build(self.q_network.trainable_variables)
        self._acting_values = outputs_of(self.acting_network)
        # XLA takes some seconds to compile, and then is the faster one where there are many small operations.
        # Its convolutions are slower than those of oneDNN.
        xla = XLA_CONVOLUTIONS or not observation.is_image
        self._compiled_updates = tf.function(self._updates_in_turn, jit_compile=xla, autograph=False)
        self._compiled_step = tf.function(self._step, jit_compile=True, autograph=False)

    @property
    def acting_network(self) -> keras.Model:
        """The network whose greedy actions are the agent's best."""
        name = {"online": "q_network", "target": "target_network", "average": "average_network"}
        return self.networks[name[self.config.acting_network]]

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        """Values of all actions by the acting network: observations [B, ...] -> float32 [B, A]."""
        return self._acting_values(observation)

    # --- One update ----------------------------------------------------------------------------------

    def td_target(self, batch: Batch) -> tf.Tensor:
        """The n-step return of each transition: reward + discount * Q_target(next observation, best action).

        Double Q-learning: the Q-network chooses the best action, the target network evaluates it.
        """
        q_target = self.target_network(batch.next_observation, training=False)  # [B, A]
        q_choice = self.q_network(batch.next_observation, training=False) if self.config.double else q_target
        best_action = tf.argmax(q_choice, axis=1, output_type=tf.int32)  # [B]
        return batch.reward + batch.discount * tf.gather(q_target, best_action, batch_dims=1)  # [B]

    def update_once(self, batch: Batch, target_rate: tf.Tensor, average_rate: tf.Tensor) -> Update:
        """A gradient step on the Huber loss of the TD errors. Then the other networks follow."""
        td_target = self.td_target(batch)
        with tf.GradientTape() as tape:
            q = tf.gather(self.q_network(batch.observation, training=True), batch.action, batch_dims=1)  # [B]
            td_error = td_target - q
            loss = tf.reduce_mean(batch.weight * huber(td_error))
        gradients = tape.gradient(loss, self.q_network.trainable_variables)
        self.apply_gradients(gradients, target_rate, average_rate)
        return Update(loss, tf.reduce_mean(q), td_error)

    def apply_gradients(self, gradients, target_rate: tf.Tensor, average_rate: tf.Tensor):
        """A step of Adam on the Q-network. Then the other networks follow."""
        # The norm is computed outside the compiled step: XLA adds up one number at a time.
        norm = tf.linalg.global_norm(gradients)
        self._compiled_step(gradients, norm, target_rate, average_rate)
        if self.config.target_update_period > 1:  # nearly always a rate of 0, and a network read for nothing
            move = tf.function(self._move_target, jit_compile=True, autograph=False)
            tf.cond(target_rate > 0, lambda: move(target_rate), lambda: None)

    def _step(self, gradients, norm, target_rate, average_rate):
        limit = self.config.gradient_clip_norm
        clipped = [gradient * (limit / tf.maximum(norm, limit)) for gradient in gradients]
        self.optimizer.apply(clipped, self.q_network.trainable_variables)
        if self.config.target_update_period == 1:
            self._move_target(target_rate)
        if "average_network" in self.networks:
            move_towards(self.networks["average_network"], self.q_network, average_rate)

    def _move_target(self, rate):
        move_towards(self.target_network, self.q_network, rate)

    # --- Several updates in one TensorFlow call ------------------------------------------------------

    def update(self, batch: Batch, learning_rate: float, count: int = 1) -> Update:
        """Make an update with each of the `count` equal parts of a batch, in turn.

        Returns:
            numpy arrays: loss and q_mean [count], td_error [B], B being the size of the whole batch.
        """
        number = self.updates + 1 + np.arange(count)  # of each update, from 1
        target_rates = self.config.target_update_rate * (number % self.config.target_update_period == 0)
        # The running mean of the last n values moves by 1 / n of the way to each new one.
        average_rates = 1 / np.maximum(1.0, self.config.average_share * number)
        update = self._compiled_updates(
            np.float32(learning_rate),
            Batch(*(array.reshape(count, -1, *array.shape[1:]) for array in batch)),
            target_rates.astype(np.float32),
            average_rates.astype(np.float32),
        )
        self.updates += count
        return Update(update.loss.numpy(), update.q_mean.numpy(), update.td_error.numpy().ravel())

    def _updates_in_turn(self, learning_rate, batches: Batch, target_rates, average_rates) -> Update:
        self.optimizer.learning_rate.assign(learning_rate)
        if target_rates.shape[0] == 1:  # no loop: in one, XLA's convolutions are ten times slower
            batch = Batch(*(array[0] for array in batches))
            update = self.update_once(batch, target_rates[0], average_rates[0])
            return Update(*(result[None] for result in update))

        def update_once(part) -> Update:
            batch, target_rate, average_rate = part
            return self.update_once(batch, target_rate, average_rate)

        signature = Update(loss=tf.float32, q_mean=tf.float32, td_error=tf.float32)
        parts = (batches, target_rates, average_rates)
        return tf.map_fn(update_once, parts, fn_output_signature=signature)


def huber(error: tf.Tensor) -> tf.Tensor:
    """The Huber loss: quadratic up to 1, linear beyond. Its gradient is the error clipped to [-1, 1]."""
    size = tf.abs(error)
    return tf.where(size < 1.0, 0.5 * size**2, size - 0.5)


def move_towards(network: keras.Model, goal: keras.Model, share: tf.Tensor):
    """Move all weights of `network` by a share of the way to those of `goal` (Polyak averaging)."""
    for ours, theirs in zip(network.variables, goal.variables, strict=True):
        ours.assign_add(share * (theirs - ours))
