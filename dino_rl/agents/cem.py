"""The deep cross-entropy method: play, keep the best sessions, imitate them, repeat. Sources: docs/cem.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Interval, MaxLen

from dino_rl.activation import Activation
from dino_rl.agents.agent import Transition, check_loss, mean_or_nan
from dino_rl.agents.networks import MAX_UNITS, outputs_of
from dino_rl.backend import keras, tf
from dino_rl.errors import DinoError
from dino_rl.spec import ObservationSpec


@dataclass(frozen=True)
class CEMConfig:
    """Hyper-parameters of the deep cross-entropy method; docs/cem.md compares them with the literature."""

    sessions: Annotated[int, Interval(ge=1, le=1_000_000)] = 100
    """Whole episodes in an iteration."""
    elite_percentile: Annotated[float, Interval(ge=0, le=100)] = 70.0
    """Sessions whose return is at least this percentile of all returns are elites."""
    hidden_units: Annotated[tuple[Annotated[int, Interval(ge=1, le=MAX_UNITS)], ...], MaxLen(32)] = (64, 64)
    """Units of each hidden layer of the policy."""
    activation: Activation = "relu"
    """Of all hidden layers."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Of Adam."""
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 256
    """State-action pairs of a gradient step."""
    epochs: Annotated[int, Interval(ge=1, le=10_000)] = 4
    """Passes over the elites' state-action pairs in an iteration."""


@dataclass
class Session:
    """One whole episode: T states, the action in each, and the sum of rewards."""

    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    total: float = 0.0


def policy_network(config: CEMConfig, observation_shape: tuple[int, ...], num_actions: int) -> keras.Model:
    """An untrained policy: observations [B, n] -> probabilities of the actions, float32 [B, num_actions].

    Raises:
        DinoError: observations are not vectors.
    """
    if len(observation_shape) != 1:
        raise DinoError(f"The cross-entropy method is for vectors, not for {observation_shape}: use dqn.")
    observation = keras.Input(observation_shape, name="observation")
    hidden = observation
    for units in config.hidden_units:
        hidden = keras.layers.Dense(units, activation=config.activation)(hidden)
    probabilities = keras.layers.Dense(num_actions, activation="softmax")(hidden)
    return keras.Model(observation, probabilities, name="policy")


def select_elites(sessions: list[Session], percentile: float) -> tuple[list[Session], float]:
    """The sessions whose return reaches a percentile of all returns, in their original order.

    If all returns are equal, all sessions are elites: fitting the policy to its own actions changes little,
    and the next sessions may differ.

    Returns:
        the elites, at least one, and the threshold that they reached.
    """
    threshold = float(np.percentile([session.total for session in sessions], percentile))
    return [session for session in sessions if session.total >= threshold], threshold


class CEM:
    """The cross-entropy method as an `Agent`.

    An iteration consists of `sessions` whole sessions by one policy. Each environment plays its share of
    them: taking the first ones that end would prefer short sessions. What an environment plays beyond its
    share, while the others finish, is not learned from.

    Args:
        config: hyper-parameters.
        observation: of one environment.
        num_actions: A.
        num_envs: N.
        greedy_envs: not used; all environments sample their actions from the policy.
        rng: drives the actions.
        replay_rng: drives the minibatches.
    """

    interval_columns = ("loss", "iteration")
    episode_columns = ("iteration",)  # the iteration that learned from the session; 0: none
    iteration_columns = ("iteration", "sessions", "mean", "threshold", "elites", "loss")

    def __init__(
        self,
        config: CEMConfig,
        observation: ObservationSpec,
        num_actions: int,
        num_envs: int,
        greedy_envs: int,
        rng: np.random.Generator,
        replay_rng: np.random.Generator,
    ):
        self._config = config
        self._rng, self._replay_rng = rng, replay_rng
        self.updates = 0
        self.network = policy_network(config, observation.shape, num_actions)
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        self.network.compile(optimizer=self.optimizer)  # so that saving the network saves Adam's slots too
        self.optimizer.build(self.network.trainable_variables)
        self.networks = {"policy": self.network}
        self._probabilities = outputs_of(self.network)
        self._compiled_fit = tf.function(self._fit, reduce_retracing=True, autograph=False)
        self.iteration = 1
        self._acted_in = 0  # the iteration whose policy chose the last actions
        envs = np.arange(num_envs)
        self._shares = config.sessions // num_envs + (envs < config.sessions % num_envs)
        self._started = np.zeros(num_envs, int)  # sessions of this iteration
        self._counts_for = np.zeros(num_envs, int)  # iteration of the running, or just ended, session
        self._running: list[Session] = [Session() for _ in envs]
        self._finished: list[Session] = []
        self._losses: list[float] = []

    # --- Acting --------------------------------------------------------------------------------------

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        self._acted_in = self.iteration
        probabilities = self._probabilities(observation)  # [N, A]
        cumulative = probabilities.cumsum(axis=1) / probabilities.sum(axis=1, keepdims=True)
        drawn = self._rng.random((len(observation), 1))
        return (drawn >= cumulative[:, :-1]).sum(axis=1), probabilities

    def act_greedily(self, observation: np.ndarray) -> np.ndarray:
        return self._probabilities(observation).argmax(axis=1)

    # --- Learning ------------------------------------------------------------------------------------

    def observe(self, transition: Transition):
        for env in range(len(self._running)):
            if transition.first[env]:
                # A session belongs to an iteration only if the iteration's policy chose its first action.
                counts = self._acted_in == self.iteration and self._started[env] < self._shares[env]
                self._counts_for[env] = self.iteration if counts else 0
                self._started[env] += counts
                self._running[env] = Session()
            session = self._running[env]
            if transition.last[env] or self._counts_for[env] != self.iteration:
                continue
            session.observations.append(transition.observation[env])
            session.actions.append(int(transition.action[env]))
            session.total += float(transition.reward[env])
            if transition.terminated[env] or transition.truncated[env]:
                self._finished.append(session)

    def learn(self, step: int, progress: float) -> dict[str, Any] | None:
        if len(self._finished) < self._config.sessions:
            return None
        elites, threshold = select_elites(self._finished, self._config.elite_percentile)
        loss = self._imitate(elites)
        check_loss(loss, f"in iteration {self.iteration:,}", self._config.learning_rate)
        returns = [session.total for session in self._finished]
        summary = {
            "iteration": self.iteration,
            "sessions": len(returns),
            "mean": float(np.mean(returns)),
            "threshold": threshold,
            "elites": len(elites),
            "loss": loss,
            "returns": returns,
        }
        self._losses.append(loss)
        self.iteration += 1
        self._start_iteration()
        return summary

    def _start_iteration(self):
        self._finished = []
        self._started[:] = 0

    def _imitate(self, elites: list[Session]) -> float:
        """Fit the policy to the elites' state-action pairs; returns the mean cross-entropy."""
        states = np.concatenate([session.observations for session in elites])  # [pairs, n]
        actions = np.concatenate([session.actions for session in elites]).astype(np.int32)  # [pairs]
        batch_size = self._config.batch_size
        steps = -(-self._config.epochs * len(states) // batch_size)  # rounded up
        indices = self._replay_rng.integers(len(states), size=(steps, batch_size)).astype(np.int32)
        self.updates += steps
        return float(self._compiled_fit(states, actions, indices))

    def _fit(self, states, actions, indices):
        """One gradient step with each row of `indices` [steps, B]."""
        variables = self.network.trainable_variables

        def step(rows):
            with tf.GradientTape() as tape:
                probabilities = self.network(tf.gather(states, rows), training=True)
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(tf.gather(actions, rows), probabilities)
                )
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        # Not in parallel: each step starts from the weights of the step before.
        losses = tf.map_fn(step, indices, fn_output_signature=tf.float32, parallel_iterations=1)
        return tf.reduce_mean(losses)

    def reset(self):
        """The running sessions have no end, so the iteration starts anew."""
        self._start_iteration()
        self._counts_for[:] = 0

    # --- Logging -------------------------------------------------------------------------------------

    def metrics(self, progress: float) -> dict[str, float]:
        loss, self._losses = mean_or_nan(self._losses), []
        return {"loss": loss, "iteration": self.iteration}

    def episode_metrics(self, env: int) -> dict[str, float]:
        return {"iteration": int(self._counts_for[env])}

    # --- Checkpoints ---------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        return {}  # a resumed run plays the sessions of its iteration again

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates, "iteration": self.iteration}

    @property
    def max_array_bytes(self) -> int:
        return 0

    def restore(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]):
        self.updates, self.iteration = int(counters["updates"]), int(counters["iteration"])
