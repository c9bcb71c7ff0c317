"""Deep Q-learning (Mnih et al. 2015) with the extensions that its settings switch on."""

from typing import Any

import numpy as np

from dino_rl.agents.learner import EpisodeValues, Explorer, Step, epsilon_greedy, mean, restore_optimizer
from dino_rl.agents.networks import build_q_network, outputs_of
from dino_rl.agents.replay import Batch, Replay
from dino_rl.agents.shards import ShardedReplay
from dino_rl.backend import XLA_CONVOLUTIONS, keras, tf
from dino_rl.errors import DinoError
from dino_rl.settings import DQNSettings, RunSettings


def q_network(settings: DQNSettings, observation_shape: tuple[int, ...], num_actions: int) -> keras.Model:
    """The Q-network that `settings` ask for; images, [H, W, stack], are scaled by 1/255."""
    scale = 1 / 255 if len(observation_shape) == 3 else 1.0
    return build_q_network(
        settings.network,
        observation_shape,
        num_actions,
        settings.dueling,
        scale,
        settings.width,
        settings.activation,
    )


class DQN:
    """A Q-network, its target network and the update between them.

    Double Q-learning (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461): the online network
    chooses the next action, the target network values it. With `target_update_rate` below 1 the target
    network is a running mean of the online one; such a mean plays better than its last term, so it is the
    target network that acts when `act_with_target` is set. A longer mean plays better still: with
    `averaged_share`, a third network that acts and nothing else.

    Args:
        settings: hyper-parameters.
        observation_shape: without the batch axis.
        num_actions: size of the discrete action space.

    Attributes:
        networks: all of them, by name.
    """

    make_network = staticmethod(q_network)

    def __init__(self, settings: DQNSettings, observation_shape: tuple[int, ...], num_actions: int):
        self.settings = settings
        self.num_actions = num_actions
        self.updates = 0
        names = ["q_network", "target_network"] + ["average_network"] * bool(settings.averaged_share)
        self.networks = {name: self.make_network(settings, observation_shape, num_actions) for name in names}
        self.q_network, self.target_network = self.networks["q_network"], self.networks["target_network"]
        self._followers = [self.networks[name] for name in names[1:]]
        for follower in self._followers:
            follower.set_weights(self.q_network.get_weights())
        self.optimizer = keras.optimizers.Adam(
            settings.learning_rate, global_clipnorm=settings.gradient_clip_norm
        )
        self.q_network.compile(optimizer=self.optimizer)  # so that saving the network saves Adam's slots too
        self.optimizer.build(self.q_network.trainable_variables)
        self._values = outputs_of(self.acting_network)
        # By XLA, which compiles for some seconds, what is many small operations.
        self._update = tf.function(
            self._compute_updates,
            jit_compile=XLA_CONVOLUTIONS or len(observation_shape) != 3,
            autograph=False,
        )
        self._apply = tf.function(self._compute_apply, jit_compile=True, autograph=False)

    @property
    def acting_network(self) -> keras.Model:
        """The network whose greedy actions are the agent's best."""
        if self.settings.averaged_share:
            return self.networks["average_network"]
        return self.target_network if self.settings.act_with_target else self.q_network

    # --- Acting --------------------------------------------------------------------------------------

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        """Values of all actions by the acting network: [B, ...] -> float32 [B, A]."""
        return self._values(observation)

    # --- Learning ------------------------------------------------------------------------------------

    def update(
        self, batch: Batch, learning_rate: float, count: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient steps on the `count` equal parts of a batch in turn, in one call of TensorFlow.

        Returns:
            loss and mean Q-value of each part's actions, float32 [count], and TD errors float32 [B].
        """
        number = self.updates + 1 + np.arange(count)
        moves = self.settings.target_update_rate * (number % self.settings.target_update_period == 0)
        averaged = np.maximum(1.0, self.settings.averaged_share * number)  # updates
        parts = (
            batch.observation,
            batch.action,
            batch.reward,
            batch.discount,
            batch.next_observation,
            batch.weight,
        )
        losses, qs, td_error = self._update(
            np.float32(learning_rate),
            *(part.reshape(count, -1, *part.shape[1:]) for part in parts),
            moves.astype(np.float32),
            (1 / averaged).astype(np.float32),
        )
        self.updates += count
        return losses.numpy(), qs.numpy(), td_error.numpy().ravel()

    def _compute_updates(self, learning_rate, *parts):
        self.optimizer.learning_rate.assign(learning_rate)
        if parts[0].shape[0] == 1:  # XLA's convolutions are ten times slower inside a loop
            return [number[None] for number in self._compute_update([part[0] for part in parts])]
        # A loop in TensorFlow is compiled once, however many turns it takes.
        return tf.map_fn(self._compute_update, parts, fn_output_signature=(tf.float32,) * 3)

    def _compute_update(self, part):
        observation, action, reward, discount, next_observation, weight, *moves = part
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
        self._apply(tape.gradient(loss, self.q_network.trainable_variables), *moves)
        return loss, tf.reduce_mean(q), td_error

    def _compute_apply(self, gradients, *moves):
        self.optimizer.apply(gradients, self.q_network.trainable_variables)
        for follower, move in zip(self._followers, moves, strict=False):  # no average: its move is left over
            for ours, theirs in zip(follower.variables, self.q_network.variables, strict=True):
                ours.assign_add(move * (theirs - ours))


def make_replay(
    settings: RunSettings,
    num_envs: int,
    share: float,
    observation_shape: tuple[int, ...],
    dtype: np.dtype,
    rng: np.random.Generator,
) -> Replay:
    """The replay memory that `settings` ask for, or a share of it, for `num_envs` environments."""
    is_image = len(observation_shape) == 3
    return Replay(
        int(settings.dqn.replay_capacity * share),
        num_envs,
        observation_shape[:2] if is_image else observation_shape,
        dtype,
        observation_shape[-1] if is_image else 0,
        settings.env.stack_stride,
        settings.dqn.n_step,
        settings.dqn.discount,
        settings.dqn.priority_exponent,
        rng,
        settings.dqn.replay_compressed,
        settings.dqn.cut_returns,
    )


def make_explorer(settings: RunSettings, num_actions: int, rng: np.random.Generator) -> Explorer:
    """Epsilon-greedy as `settings` ask for it.

    Raises:
        DinoError: too few weights of random actions.
    """
    weights = settings.dqn.random_action_weights[:num_actions] or (1.0,) * num_actions
    if len(weights) < num_actions:
        raise DinoError(
            f"{num_actions} actions, but random_action_weights for {len(weights)}: use another preset."
        )
    shares = np.asarray(weights) / sum(weights)
    return Explorer(settings.env.num_envs, settings.dqn.random_action_exponent, shares, rng)


class DQNLearner:
    """DQN in the training loop (`Learner`): explores, keeps a replay memory, and learns what is due.

    Args:
        settings: of the run; the last `env.greedy_envs` environments do not explore.
        observation_shape, dtype: of one observation; images as [H, W, stack], newest last.
        num_actions: size of the discrete action space.
        rngs: "explore" drives the actions, "replay" the sampling.
        replay: a memory that somebody else fills; None: one of its own.
    """

    agent_class = DQN
    interval_columns = ("loss", "q_mean", "epsilon", "learning_rate", "replay_frames")
    episode_columns = ("epsilon", "q_mean")
    milestone_columns = ()

    def __init__(
        self,
        settings: RunSettings,
        observation_shape: tuple[int, ...],
        dtype: np.dtype,
        num_actions: int,
        rngs: dict[str, np.random.Generator],
        replay: ShardedReplay | None = None,
    ):
        self._settings = settings.dqn
        self._rng = rngs["explore"]
        self._is_image = len(observation_shape) == 3
        self.agent = self.agent_class(settings.dqn, observation_shape, num_actions)
        num_envs = settings.env.num_envs
        if replay is None:  # an empty one counts as false
            self.replay: Replay | ShardedReplay = make_replay(
                settings, num_envs, 1.0, observation_shape, dtype, rngs["replay"]
            )
        else:
            self.replay = replay
        self.networks = self.agent.networks
        exploring = num_envs - settings.env.greedy_envs
        self._explores = np.arange(num_envs) < exploring
        self._floors = np.zeros(num_envs)
        if settings.dqn.epsilon_floors:
            self._floors[:exploring] = np.geomspace(*settings.dqn.epsilon_floors, exploring)
        self._explorer = make_explorer(settings, num_actions, self._rng)
        self._epsilon = 0.0  # of the schedule
        self._epsilons = np.zeros(num_envs)
        self._debt = 0.0  # transitions that are due to be learned from
        self._losses: list[float] = []
        self._qs: list[float] = []
        self._values = np.zeros((num_envs, num_actions))  # of the last actions' states
        self._episode_values = EpisodeValues(num_envs)

    @property
    def updates(self) -> int:
        return self.agent.updates

    @property
    def network(self) -> keras.Model:
        return self.agent.acting_network

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        self._epsilon = self._settings.epsilon(progress)
        self._values = self.agent.q_values(observation)
        self._epsilons = np.where(self._explores, np.maximum(self._epsilon, self._floors), 0.0)
        actions = self._explorer.choose(self._values, self._epsilons)
        return actions, self._values

    def play(self, observation: np.ndarray) -> np.ndarray:
        return epsilon_greedy(self.agent.q_values(observation), self._settings.epsilon_play, self._rng)

    def take(self, step: Step):
        self._episode_values.add(self._values, step.first)
        assert isinstance(self.replay, Replay)
        self._remember(self.replay, step.observation[..., -1] if self._is_image else step.observation, step)

    def _remember(self, replay: Replay, frame: np.ndarray, step: Step):
        reward, limit = step.reward, self._settings.reward_limit
        replay.add(
            frame,
            step.first,
            step.action,
            reward if limit is None else np.clip(reward, -limit, limit),
            step.terminated,
            step.truncated,
            step.life_lost,
            step.greedy,
        )
        self._debt += len(step.action) * self._settings.replay_ratio

    def learn(self, step: int, progress: float) -> None:
        settings = self._settings
        if step < settings.learning_starts:
            self._debt = 0.0
            return
        count = settings.updates_per_call
        learning_rate = settings.learning_rate_at(progress)
        while self._debt >= count * settings.batch_size:
            self._debt -= count * settings.batch_size
            batch = self.replay.sample(count * settings.batch_size, settings.importance_exponent)
            losses, qs, td_error = self.agent.update(batch, learning_rate, count)
            self.replay.update_priorities(batch.index, td_error)
            self._losses += losses.tolist()
            self._qs += qs.tolist()

    def break_off(self):
        self._explorer.stop()
        self.replay.break_off()

    def interval_numbers(self, progress: float) -> dict[str, float]:
        numbers = {
            "loss": mean(self._losses),
            "q_mean": mean(self._qs),
            "epsilon": self._epsilon,
            "learning_rate": self._settings.learning_rate_at(progress),
            "replay_frames": len(self.replay),
        }
        self._losses, self._qs = [], []
        return numbers

    def episode_numbers(self, lane: int) -> dict[str, float]:
        return {
            "epsilon": float(self._epsilons[lane]),
            "q_mean": self._episode_values.mean(lane),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        return self.replay.state()

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates, "learn_debt": self._debt}

    def restore(
        self, networks: dict[str, keras.Model], arrays: dict[str, np.ndarray], counters: dict[str, Any]
    ):
        for name, network in self.networks.items():
            network.set_weights(networks[name].get_weights())
        restore_optimizer(self.agent.optimizer, networks["q_network"].optimizer)
        self.replay.restore(arrays)
        self.agent.updates = counters["updates"]
        self._debt = counters["learn_debt"]
