"""DQN with its environments in actors on Ray, in the shape of Ape-X (Horgan et al. 2018,
https://arxiv.org/abs/1803.00933): many actors play, and one process learns.

Two things differ from the paper. The replay memory is in the learner's process, one shard for each actor: a
frame crosses the network once, and a minibatch never does. And the learner keeps to `samples_per_insert`: it
makes as many updates for each step as a run in one process, and actors that are too far ahead of it wait.
"""

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.agents.agent import Transition
from dino_rl.agents.dqn_agent import DQNAgent
from dino_rl.backend import keras
from dino_rl.envs.task import Task
from dino_rl.runs.model_file import BEST_MODEL, check_weights, save_model
from dino_rl.scale.actor_pool import ActorPool
from dino_rl.scale.actors import Rollout
from dino_rl.scale.sharded_replay import ShardedReplay
from dino_rl.spec import TaskSpec
from dino_rl.train_config import TrainConfig
from dino_rl.training.algorithm import Slice
from dino_rl.training.finite import check_step
from dino_rl.training.local import restore_agent, save_agent
from dino_rl.training.statistics import EpisodeStatistics

WAIT_S = 1.0  # for a rollout; then the run looks whether it was stopped


class ApexAlgorithm:
    """A learner and its actors (an `Algorithm`). A Ray cluster must be there.

    Args:
        config: of the run.
        task: what the actors play.
        rngs: "explore" and "replay" are the agent's. Actors draw from generators of their own.

    Raises:
        DinoError: an actor cannot make its environments.

    Attributes:
        pool: the actors.
        replay: a shard for each of them.
    """

    model_file = BEST_MODEL
    interval_columns = ("loss", "q_mean", "learning_rate", "replay_frames", "weights_age")
    iteration_columns = ()

    def __init__(self, config: TrainConfig, task: Task, rngs: dict[str, np.random.Generator]):
        assert config.actors is not None
        spec = task.spec
        self._rngs = rngs
        self._publish_updates = config.actors.publish_updates
        self._published: int | None = None  # updates of the weights that the actors have; None: not started
        self._weights_age = 0  # updates from the weights of the last rollout to the newest
        self._arrived: deque[Rollout] = deque()
        self._lost: list[int] = []  # indices of actors
        self._statistics_columns = EpisodeStatistics(1, spec.actions, spec.info_keys).columns
        self.pool = ActorPool(config)
        try:
            self._agent, self.replay = make_learner(config, spec, rngs)
        except BaseException:
            self.pool.close()
            raise

    @property
    def episode_columns(self) -> tuple[str, ...]:
        return self._agent.episode_columns + self._statistics_columns

    @property
    def updates(self) -> int:
        return self._agent.updates

    # --- Playing and learning -----------------------------------------------------------------------------

    def iterate(self, step: int, progress: float) -> Slice:
        """One rollout of one actor, and the updates that are due after it. An empty slice if none arrived.

        An actor that is lost is no fault of the run: the others play on, and the pool starts it again.

        Raises:
            NotFiniteError: a reward, an observation or a loss is not finite.
        """
        if self._published is None:
            self._agent.reset()
            self._publish()
        started = time.monotonic()
        if not self._arrived:
            for actor in self._lost:  # all that it sent has been added; another one begins in its place
                self.replay.shards[actor].truncate_episodes()
            self.pool.play()
            rollouts, self._lost = self.pool.wait(WAIT_S)
            self._arrived.extend(rollouts)
        arrived = time.monotonic()
        if not self._arrived:
            return Slice(wait_s=arrived - started)
        rollout = self._arrived.popleft()
        for observation, reward in zip(
            rollout.transitions.observation, rollout.transitions.reward, strict=True
        ):
            check_step(observation, reward)
        add_rollout(self._agent, self.replay, rollout)
        self._weights_age = self.updates - rollout.weights_version
        steps = rollout.transitions.action.size
        learning = time.monotonic()
        self._agent.learn(step + steps, progress)
        learned = time.monotonic()
        if self.updates >= (self._published or 0) + self._publish_updates:
            self._publish()
        return Slice(steps, rollout.episodes, learn_s=learned - learning, wait_s=arrived - started)

    def _publish(self):
        self.pool.publish(self._agent.network.get_weights(), self.updates)
        self._published = self.updates

    def act_greedily(self, observations: np.ndarray) -> np.ndarray:
        return self._agent.act_greedily(observations)

    def metrics(self, progress: float) -> dict[str, float]:
        metrics = self._agent.metrics(progress)
        del metrics["epsilon"]  # each environment has its own
        return metrics | {"weights_age": self._weights_age}

    # --- Saving -------------------------------------------------------------------------------------------

    def save(self, run_dir: Path, state: dict[str, Any]) -> None:
        save_agent(run_dir, self._agent, self._rngs, state)

    def restore(self, run_dir: Path, state: dict[str, Any]) -> None:
        restore_agent(run_dir, self._agent, self._rngs, state)

    def save_model(self, path: Path, card: dict[str, Any]) -> None:
        check_weights({"the model": self._agent.network})
        save_model(path, self._agent.network, card)

    def close(self) -> None:
        self.pool.close()


def make_learner(
    config: TrainConfig, spec: TaskSpec, rngs: dict[str, np.random.Generator]
) -> tuple[DQNAgent, ShardedReplay]:
    """The agent that learns, with initial weights from the run's seed, and its replay memory."""
    env, dqn, actors = config.env, config.dqn, config.actors
    assert dqn is not None
    assert actors is not None
    replay = ShardedReplay.for_actors(dqn, actors.actors, env.num_envs, spec.observation, rngs["replay"])
    keras.utils.set_random_seed(config.run.seed)
    agent = DQNAgent(
        dqn,
        spec.observation,
        spec.num_actions,
        env.num_envs,
        env.greedy_envs,
        rngs["explore"],
        rngs["replay"],
        replay,
    )
    return agent, replay


def add_rollout(agent: DQNAgent, replay: ShardedReplay, rollout: Rollout) -> None:
    """Store what an actor played in its shard of the replay memory; learning from it becomes due."""
    shard = replay.shards[rollout.actor]
    arrays = vars(rollout.transitions)
    for t in range(len(rollout.transitions.action)):
        transition = Transition(**{name: array[t] for name, array in arrays.items()})
        agent.remember(shard, transition.observation, transition)
