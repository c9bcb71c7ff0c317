"""The deep cross-entropy method: play, keep the best sessions, imitate them, repeat. Sources: docs/cem.md."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dino_rl.agents.learner import Step, mean, restore_optimizer
from dino_rl.agents.networks import outputs_of
from dino_rl.backend import keras, tf
from dino_rl.errors import DinoError
from dino_rl.settings import CEMSettings, RunSettings


@dataclass
class Session:
    """One whole episode: T states, the action on each, and the sum of rewards."""

    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    total: float = 0.0


def policy_network(
    settings: CEMSettings, observation_shape: tuple[int, ...], num_actions: int
) -> keras.Model:
    """Observations [B, n] -> probabilities of the actions, float32 [B, num_actions].

    Raises:
        DinoError: observations are no vectors.
    """
    if len(observation_shape) != 1:
        raise DinoError(f"The cross-entropy method learns from vectors here, not from {observation_shape}.")
    observation = keras.Input(observation_shape, name="observation")
    hidden = observation
    for units in settings.hidden_units:
        hidden = keras.layers.Dense(units, activation=settings.activation)(hidden)
    return keras.Model(
        observation, keras.layers.Dense(num_actions, activation="softmax")(hidden), name="policy"
    )


def select_elites(sessions: list[Session], percentile: float) -> tuple[list[Session], float]:
    """Sessions whose return reaches a percentile of all returns, in their original order.

    Where all returns are equal, all are elites: fitting the policy to its own actions changes little, and
    the next sessions may be luckier.

    Returns:
        the elites, at least one, and the threshold that they reached.
    """
    threshold = float(np.percentile([session.total for session in sessions], percentile))
    return [session for session in sessions if session.total >= threshold], threshold


class CEM:
    """The cross-entropy method in the training loop (`Learner`).

    An iteration consists of `sessions` whole sessions by one policy. Each environment plays its share of
    them, so that long sessions are not left out for ending late; what it plays beyond, while the others
    finish, is not learned from.

    Args:
        settings: of the run.
        observation_shape: of one observation.
        num_actions: size of the discrete action space.
        rngs: "explore" drives the actions, "replay" the order of what is learned from.
    """

    interval_columns = ("loss", "iteration")
    episode_columns = ("iteration",)  # that the session was learned from in; 0: in none
    milestone_columns = ("iteration", "sessions", "mean", "threshold", "elites", "loss")

    def __init__(
        self,
        settings: RunSettings,
        observation_shape: tuple[int, ...],
        num_actions: int,
        rngs: dict[str, np.random.Generator],
    ):
        self._settings = settings.cem
        self._rngs = rngs
        self.updates = 0
        self.network = policy_network(settings.cem, observation_shape, num_actions)
        self.optimizer = keras.optimizers.Adam(settings.cem.learning_rate)
        self.network.compile(optimizer=self.optimizer)  # so that saving the network saves Adam's slots too
        self.optimizer.build(self.network.trainable_variables)
        self.networks = {"policy": self.network}
        self._probabilities = outputs_of(self.network)
        self._fit = tf.function(self._compute_fit, reduce_retracing=True, autograph=False)
        self.iteration = 1
        self._acted_in = 0  # the iteration whose policy chose the last actions
        lanes = np.arange(settings.env.num_envs)
        self._shares = settings.cem.sessions // len(lanes) + (lanes < settings.cem.sessions % len(lanes))
        self._started = np.zeros(len(lanes), int)  # sessions of this iteration
        self._counts_for = np.zeros(len(lanes), int)  # the iteration of the running, or just ended, session
        self._running: list[Session] = [Session() for _ in lanes]
        self._finished: list[Session] = []
        self._losses: list[float] = []

    # --- Acting --------------------------------------------------------------------------------------

    def act(self, observation: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        self._acted_in = self.iteration
        probabilities = self._probabilities(observation)
        reached = probabilities.cumsum(axis=1) / probabilities.sum(axis=1, keepdims=True)
        dice = self._rngs["explore"].random((len(observation), 1))
        return (dice >= reached[:, :-1]).sum(axis=1), probabilities

    def play(self, observation: np.ndarray) -> np.ndarray:
        return self._probabilities(observation).argmax(axis=1)

    # --- Learning ------------------------------------------------------------------------------------

    def take(self, step: Step):
        for lane in range(len(self._running)):
            if step.first[lane]:
                # A session belongs to an iteration only if its policy chose the first action already.
                counts = self._acted_in == self.iteration and self._started[lane] < self._shares[lane]
                self._counts_for[lane] = self.iteration if counts else 0
                self._started[lane] += counts
                self._running[lane] = Session()
            session = self._running[lane]
            if step.last[lane] or self._counts_for[lane] != self.iteration:
                continue
            session.observations.append(step.observation[lane])
            session.actions.append(int(step.action[lane]))
            session.total += float(step.reward[lane])
            if step.terminated[lane] or step.truncated[lane]:
                self._finished.append(session)

    def learn(self, step: int, progress: float) -> dict[str, Any] | None:
        if len(self._finished) < self._settings.sessions:
            return None
        elites, threshold = select_elites(self._finished, self._settings.elite_percentile)
        loss = self._imitate(elites)
        returns = [session.total for session in self._finished]
        milestone = {
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
        self._begin_iteration()
        return milestone

    def _begin_iteration(self):
        self._finished = []
        self._started[:] = 0

    def _imitate(self, elites: list[Session]) -> float:
        """Fit the policy to the elites' state-action pairs; returns the mean cross-entropy."""
        states = np.concatenate([session.observations for session in elites])  # [pairs, n]
        actions = np.concatenate([session.actions for session in elites]).astype(np.int32)
        size = self._settings.batch_size
        count = -(-self._settings.epochs * len(states) // size)
        index = self._rngs["replay"].integers(len(states), size=(count, size)).astype(np.int32)
        self.updates += count
        return float(self._fit(states, actions, index))

    def _compute_fit(self, states, actions, index):
        """One gradient step for each row of `index` [steps, B]."""
        variables = self.network.trainable_variables

        def step(rows):
            with tf.GradientTape() as tape:
                probabilities = self.network(tf.gather(states, rows), training=True)
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(tf.gather(actions, rows), probabilities)
                )
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        # One after the other: each goes on from the weights that the last one left.
        losses = tf.map_fn(step, index, fn_output_signature=tf.float32, parallel_iterations=1)
        return tf.reduce_mean(losses)

    def break_off(self):
        """The running sessions have no end: the iteration begins anew."""
        self._begin_iteration()
        self._counts_for[:] = 0

    # --- Numbers, and keeping ------------------------------------------------------------------------

    def interval_numbers(self, progress: float) -> dict[str, float]:
        loss, self._losses = mean(self._losses), []
        return {"loss": loss, "iteration": self.iteration}

    def episode_numbers(self, lane: int) -> dict[str, float]:
        return {"iteration": int(self._counts_for[lane])}

    def arrays(self) -> dict[str, np.ndarray]:
        return {}  # a resumed run plays the sessions of its iteration anew

    def counters(self) -> dict[str, Any]:
        return {"updates": self.updates, "iteration": self.iteration}

    def restore(
        self, networks: dict[str, keras.Model], arrays: dict[str, np.ndarray], counters: dict[str, Any]
    ):
        self.network.set_weights(networks["policy"].get_weights())
        restore_optimizer(self.optimizer, networks["policy"].optimizer)
        self.updates, self.iteration = counters["updates"], counters["iteration"]
