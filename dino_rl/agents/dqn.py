"""Deep Q-learning (Mnih et al. 2015) with the extensions that its settings switch on."""

import keras
import numpy as np
import tensorflow as tf

from dino_rl.agents.networks import build_q_network
from dino_rl.agents.replay import Batch
from dino_rl.settings import DQNSettings


def q_network(settings: DQNSettings, observation_shape: tuple[int, ...], num_actions: int) -> keras.Model:
    """The Q-network that `settings` ask for; images, [H, W, stack], are scaled by 1/255."""
    scale = 1 / 255 if len(observation_shape) == 3 else 1.0
    return build_q_network(settings.network, observation_shape, num_actions, settings.dueling, scale)


class DQN:
    """A Q-network, its target network and the update between them.

    Double Q-learning (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461): the online network
    chooses the next action, the target network values it. With `target_update_rate` below 1 the target
    network is a running mean of the online one; such a mean plays better than its last term, so it is the
    target network that acts when `act_with_target` is set.

    Args:
        settings: hyper-parameters.
        observation_shape: without the batch axis.
        num_actions: size of the discrete action space.
        rng: drives exploration.
    """

    def __init__(
        self,
        settings: DQNSettings,
        observation_shape: tuple[int, ...],
        num_actions: int,
        rng: np.random.Generator,
    ):
        self.settings = settings
        self.num_actions = num_actions
        self.updates = 0
        self._rng = rng
        self.q_network = q_network(settings, observation_shape, num_actions)
        self.target_network = q_network(settings, observation_shape, num_actions)
        self.target_network.set_weights(self.q_network.get_weights())
        self.optimizer = keras.optimizers.Adam(
            settings.learning_rate, global_clipnorm=settings.gradient_clip_norm
        )
        self.q_network.compile(optimizer=self.optimizer)  # so that saving the network saves Adam's slots too
        self.optimizer.build(self.q_network.trainable_variables)
        self._values = tf.function(self._compute_values, reduce_retracing=True)
        # XLA: measured faster than op by op on two cores, after some seconds of compiling.
        self._update = tf.function(self._compute_update, jit_compile=True)
        self._move_target = tf.function(self._compute_target)
        weights = np.ones(num_actions)
        if settings.random_action_weights:
            weights = np.asarray(settings.random_action_weights[:num_actions])
        self._random_action_weights = weights / weights.sum()

    def restore_optimizer(self, saved: keras.Optimizer):
        """Take over the state of an optimizer loaded from a checkpoint."""
        for ours, theirs in zip(self.optimizer.variables, saved.variables, strict=True):
            ours.assign(theirs)

    @property
    def acting_network(self) -> keras.Model:
        """The network whose greedy actions are the agent's best."""
        return self.target_network if self.settings.act_with_target else self.q_network

    # --- Acting --------------------------------------------------------------------------------------

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        """Values of all actions by the acting network: [B, ...] -> float32 [B, A]."""
        return self._values(observation).numpy()

    def act(
        self, observation: np.ndarray, epsilon: np.ndarray | float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Epsilon-greedy actions, each environment tossing its own coin.

        Returns:
            actions int64 [B], and the Q-values float32 [B, A] that the greedy ones came from.
        """
        values = self.q_values(observation)
        actions = values.argmax(axis=1)
        if np.any(epsilon):
            random = self._rng.choice(self.num_actions, size=len(actions), p=self._random_action_weights)
            actions = np.where(self._rng.random(len(actions)) < epsilon, random, actions)
        return actions, values

    def _compute_values(self, observation):
        return self.acting_network(observation, training=False)

    # --- Learning ------------------------------------------------------------------------------------

    def update(self, batch: Batch, learning_rate: float) -> tuple[float, float, np.ndarray]:
        """One gradient step.

        Returns:
            loss, mean Q-value of the batch's actions, and TD errors float32 [B].
        """
        self.optimizer.learning_rate.assign(learning_rate)
        loss, q, td_error = self._update(
            batch.observation,
            batch.action,
            batch.reward,
            batch.discount,
            batch.next_observation,
            batch.weight,
        )
        self.updates += 1
        if self.updates % self.settings.target_update_period == 0:
            self._move_target()
        return float(loss), float(q), td_error.numpy()

    def _compute_update(self, observation, action, reward, discount, next_observation, weight):
        next_target = self.target_network(next_observation, training=False)  # [B, A]
        chooser = self.q_network(next_observation, training=False) if self.settings.double else next_target
        next_action = tf.argmax(chooser, axis=1, output_type=tf.int32)
        target = reward + discount * tf.gather(next_target, next_action, batch_dims=1)  # [B]
        with tf.GradientTape() as tape:
            q = tf.gather(self.q_network(observation, training=True), action, batch_dims=1)  # [B]
            td_error = target - q
            size = tf.abs(td_error)
            huber = tf.where(size < 1.0, 0.5 * size**2, size - 0.5)
            loss = tf.reduce_mean(weight * huber)
        variables = self.q_network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss, tf.reduce_mean(q), td_error

    def _compute_target(self):
        rate = self.settings.target_update_rate
        for ours, theirs in zip(self.target_network.variables, self.q_network.variables, strict=True):
            ours.assign_add(rate * (theirs - ours))
