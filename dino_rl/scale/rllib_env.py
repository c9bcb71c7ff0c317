"""The environments of a task as RLlib makes them, and the episodes that it reports."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.tune.registry import register_env

from dino_rl.envs.registry import EnvConfig, make_task
from dino_rl.spec import DRAWN_SEEDS_FROM, TaskSpec
from dino_rl.training.statistics import EpisodeStatistics

ENDED = "episode_ended"  # key of `info`, and of RLlib's results
ENV = "dino-rl"  # RLlib's name for the environments of a run


def register(config: EnvConfig) -> None:
    """Have RLlib make these environments under the name `ENV`."""
    register_env(ENV, partial(_make_env, config))


def log_episode(*, episode: SingleAgentEpisode, metrics_logger: MetricsLogger, **_: Any) -> None:
    """RLlib's callback at the end of an episode: keep what `EpisodeReports` wrote."""
    metrics_logger.log_value(ENDED, episode.get_infos(-1)[ENDED], reduce="item_series")


def read_episodes(results: dict[str, Any], spec: TaskSpec) -> list[dict[str, Any]]:
    """The episodes in RLlib's results of one iteration, as rows of `Slice.episodes`."""
    ended = results["env_runners"].get(ENDED, [])
    if not isinstance(ended, list):  # RLlib unpacks a list of one
        ended = [ended]
    columns = EpisodeStatistics(1, spec.actions, spec.info_keys).columns
    names = ("score", "return", "length", *columns)
    return [{"env": int(env), "greedy": 0, **dict(zip(names, values, strict=True))} for env, *values in ended]


def _make_env(config: EnvConfig, context: dict[str, Any]) -> gymnasium.vector.VectorEnv:
    task = make_task(config)
    return EpisodeReports(task.make_training_env(), task.spec)


class EpisodeReports(gymnasium.vector.VectorWrapper):
    """Reports an episode that ended in `info[ENDED]`: the index of its environment, and then the values of
    `EpisodeStatistics.episode`.

    RLlib's seeds are moved to those that training draws, so that no game of an evaluation occurs in training.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, spec: TaskSpec):
        super().__init__(env)
        self._statistics = EpisodeStatistics(env.num_envs, spec.actions, spec.info_keys)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(self, *, seed=None, options=None):
        seed = None if seed is None else DRAWN_SEEDS_FROM + seed
        observations, infos = self.env.reset(seed=seed, options=options)
        self._ended[:] = False
        self._statistics.begin(~self._ended, infos)
        return observations, infos

    def step(self, actions):
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self._statistics.step(actions, rewards)
        first, self._ended = self._ended, terminated | truncated
        if self._ended.any():
            rows = [
                (i, *self._statistics.episode(i, infos).values()) if over else ()
                for i, over in enumerate(self._ended)
            ]
            # With None in it, numpy makes an array of tuples rather than one of numbers.
            infos[ENDED], infos["_" + ENDED] = np.array([*rows, None], object)[:-1], self._ended
        self._statistics.begin(first, infos)
        return observations, rewards, terminated, truncated, infos
