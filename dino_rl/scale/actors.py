"""Actors: processes of a Ray cluster that play. Each has its own environments, explores in its own way, and
sends what it observed, each frame once."""

import os
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np
import ray

from dino_rl.agents.agent import EpisodeValues, Transition
from dino_rl.agents.exploration import Explorer
from dino_rl.agents.networks import build_q_network, outputs_of
from dino_rl.backend import tf, use_one_thread
from dino_rl.envs.registry import make_task
from dino_rl.spec import DRAWN_SEEDS_FROM
from dino_rl.train_config import TrainConfig
from dino_rl.training.local import LAST_DRAWN_SEED
from dino_rl.training.statistics import EpisodeStatistics


def epsilon_ladder(config: TrainConfig, actor: int) -> np.ndarray:
    """The epsilons of an actor's environments, float64 [M]. They stay the same for the whole run.

    Each of the K exploring environments of all actors has its own: epsilon ** (1 + i / (K - 1) * exponent),
    i = 0 ... K - 1 (Horgan et al. 2018, https://arxiv.org/abs/1803.00933; their actors play one game each).
    Greedy environments do not explore.

    Args:
        config: of a run with actors.
        actor: index of the actor.
    """
    env, actors = config.env, config.actors
    assert actors is not None
    exploring = env.num_envs - env.greedy_envs
    lowest = actors.epsilon ** (1 + actors.epsilon_exponent)
    # Neighbours on the ladder belong to different actors: each actor has some of all kinds.
    rungs = np.geomspace(actors.epsilon, lowest, exploring * actors.actors)[actor :: actors.actors]
    return np.concatenate([rungs, np.zeros(env.greedy_envs)])


@dataclass(frozen=True)
class Rollout:
    """T steps of an actor's M environments.

    Attributes:
        actor: index of the actor.
        transitions: arrays [T, M, ...]. Observations are the newest frames only, [T, M, H, W], or vectors.
        episodes: those that ended, as rows of `Slice.episodes`.
        weights_version: updates of the network that played.
    """

    actor: int
    transitions: Transition
    episodes: list[dict[str, Any]]
    weights_version: int


class Actor:
    """Plays with the weights that it receives. Nothing is started before `open` or the first rollout, so that
    their errors reach the caller as they are.

    Args:
        config: of a run with actors.
        index: of this actor.
        generation: how many actors had this index before. Each draws other games than they did.
    """

    _env: gymnasium.vector.VectorEnv | None = None

    def __init__(self, config: TrainConfig, index: int, generation: int):
        assert config.actors is not None
        self._config = config
        self._rollout_steps = config.actors.rollout_steps
        self._index = index
        self._generation = generation

    def open(self) -> None:
        """Make the environments and the network.

        Raises:
            DinoError: the environments cannot be made.
        """
        if self._env is not None:
            return
        config = self._config
        assert config.dqn is not None
        use_one_thread()
        tf.config.set_visible_devices([], "GPU")  # the learner uses it
        rng = np.random.default_rng([config.run.seed, 1, self._index, self._generation])
        task = make_task(config.env)
        spec, num_envs, greedy_envs = task.spec, config.env.num_envs, config.env.greedy_envs
        self._is_image = spec.observation.is_image
        self._network = build_q_network(config.dqn.network, spec.observation.shape, spec.num_actions)
        self._q_values = outputs_of(self._network)
        self._weights_version = -1
        self._epsilons = epsilon_ladder(config, self._index)
        self._explorer = Explorer(config.dqn.exploration, spec.num_actions, num_envs, greedy_envs, rng)
        self._statistics = EpisodeStatistics(num_envs, spec.actions, spec.info_keys)
        self._episode_values = EpisodeValues(num_envs)
        env = task.make_training_env()
        try:
            seed = int(rng.integers(DRAWN_SEEDS_FROM, LAST_DRAWN_SEED))
            self._observation, infos = env.reset(seed=seed)
        except BaseException:
            env.close()
            raise
        self._env = env
        self._first = np.ones(num_envs, bool)
        self._last = ~self._first
        self._statistics.begin(self._first, infos)

    def roll_out(self, weights: list[np.ndarray], version: int) -> Rollout:
        """Play `rollout_steps` steps with the newest weights.

        Args:
            weights: of the acting network.
            version: how many updates made them.

        Raises:
            EnvError: the environments stopped working. The actor is of no use any more.
        """
        self.open()
        if version != self._weights_version:
            self._network.set_weights(weights)
            self._weights_version = version
        transitions, episodes = [], []
        for _ in range(self._rollout_steps):
            transition, ended = self._step()
            transitions.append(transition)
            episodes += ended
        stacked = {
            field.name: np.stack([getattr(transition, field.name) for transition in transitions])
            for field in fields(Transition)
        }
        return Rollout(self._index, Transition(**stacked), episodes, version)

    def _step(self) -> tuple[Transition, list[dict[str, Any]]]:
        assert self._env is not None
        observation, first, last = self._observation, self._first, self._last
        q_values = self._q_values(observation)
        actions = self._explorer.choose(q_values, self._epsilons)
        self._observation, reward, terminated, truncated, infos = self._env.step(actions)
        self._statistics.step(actions, reward)
        self._episode_values.add(q_values, first)
        ended = terminated | truncated
        episodes = [self._episode(i, infos) for i in np.flatnonzero(ended).tolist()]
        # Next-step autoreset: after the end of an episode comes the first observation of another.
        self._first, self._last = last, ended
        self._statistics.begin(self._first, infos)
        transition = Transition(
            observation[..., -1] if self._is_image else observation,
            first,
            last,
            actions,
            reward,
            terminated,
            truncated,
            life_lost=infos.get("life_lost", np.zeros(len(actions), bool)),
            values=q_values,
        )
        return transition, episodes

    def _episode(self, i: int, infos: dict[str, Any]) -> dict[str, Any]:
        env = self._config.env
        return {
            "env": self._index * env.num_envs + i,  # counted through all actors
            "greedy": int(i >= env.num_envs - env.greedy_envs),
            **self._statistics.episode(i, infos),
            "epsilon": float(self._epsilons[i]),
            "q_mean": self._episode_values.mean(i),
        }

    def close(self) -> None:
        """End the environments."""
        if self._env is not None:
            self._env.close()

    def process_and_node(self) -> tuple[int, str]:
        """Id of the process, and of the node of the cluster."""
        return os.getpid(), ray.get_runtime_context().get_node_id()
