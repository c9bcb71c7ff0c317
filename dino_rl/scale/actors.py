"""Processes of a Ray cluster that play: each owns its environments, explores in its own way, and sends what
it saw, each frame once."""

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from dino_rl.agents.dqn import DQN, make_explorer
from dino_rl.agents.learner import EpisodeValues, Step
from dino_rl.backend import share_cores, tf
from dino_rl.envs.catalog import Interface, interface, make_training_env
from dino_rl.errors import BrowserError, DinoError
from dino_rl.results.statistics import EpisodeStatistics
from dino_rl.settings import RunSettings

CLOSE_TIMEOUT_S = 10
RESTARTS = 5  # of one actor, without a single rollout between


def ladder(settings: RunSettings, actor: int, actors: int) -> np.ndarray:
    """Epsilons of an actor's environments, float64 [M]: each of all N x M has its own, for the whole run.

    epsilon ** (1 + i / (N - 1) * alpha), i = 0 ... N - 1, of Horgan et al. 2018
    (https://arxiv.org/abs/1803.00933), whose actors play one game each; here i counts games. Greedy
    environments do not explore.
    """
    env, on_ray = settings.env, settings.on_ray
    exploring = env.num_envs - env.greedy_envs
    # Neighbours on the ladder belong to different actors: each actor has some of all kinds.
    foot = on_ray.epsilon ** (1 + on_ray.epsilon_exponent)
    rungs = np.geomspace(on_ray.epsilon, foot, exploring * actors)[actor::actors]
    return np.concatenate([rungs, np.zeros(env.greedy_envs)])


@dataclass(frozen=True)
class Rollout:
    """T steps of an actor's M environments.

    Attributes:
        actor: whose.
        steps: arrays [T, M, ...]; observations are the newest frames only: uint8 [T, M, 80, 80], or vectors.
        episodes: those that ended: (environment, its numbers).
        weights_version: of the network that played.
    """

    actor: int
    steps: Step
    episodes: list[tuple[int, dict[str, Any]]]
    weights_version: int


class Actor:
    """Plays with the weights that it is given.

    Args:
        settings: of the run.
        index, count: which actor it is, of how many.
        generation: how many came before it in its place; it draws other games than they did.
    """

    _env: Any = None  # until there is something to do; what making it raises then comes as it is

    def __init__(self, settings: RunSettings, index: int, count: int, generation: int):
        self._settings = settings
        self._index, self._count, self._generation = index, count, generation

    def _open(self):
        settings = self._settings
        share_cores()
        tf.config.set_visible_devices([], "GPU")  # that is the learner's
        rng = np.random.default_rng([settings.seed, 1, self._index, self._generation])
        self._env = make_training_env(settings.env)
        self._made_for = interface(self._env, settings.env)
        self._agent = DQN(settings.dqn, self._made_for.observation_shape, len(self._made_for.actions))
        self._epsilons = ladder(settings, self._index, self._count)
        self._statistics = EpisodeStatistics(
            settings.env.num_envs, self._made_for.actions, self._made_for.watched
        )
        self._explorer = make_explorer(settings, len(self._made_for.actions), rng)
        self._episode_values = EpisodeValues(settings.env.num_envs)
        self._weights_version = -1
        everyone = np.ones(settings.env.num_envs, bool)
        self._observation, infos = self._env.reset(seed=int(rng.integers(2**31, 2**32 - 2**16)))
        self._first, self._last = everyone, ~everyone
        self._statistics.begin(everyone, infos)

    def made_for(self) -> Interface:
        """What a learner needs to know of the environments.

        Raises:
            DinoError: they cannot be made.
        """
        if self._env is None:
            self._open()
        return self._made_for

    def roll_out(self, weights: list[np.ndarray], version: int) -> Rollout:
        """Play for a while by the newest weights.

        Raises:
            BrowserError: the browser is gone; so should be the actor.
        """
        if self._env is None:
            self._open()
        if version != self._weights_version:
            self._agent.acting_network.set_weights(weights)
            self._weights_version = version
        steps, episodes = [], []
        for _ in range(self._settings.on_ray.rollout_steps):
            step, ended = self._step()
            steps.append(step)
            episodes += ended
        stacked = {
            field.name: np.stack([getattr(step, field.name) for step in steps]) for field in fields(Step)
        }
        return Rollout(self._index, Step(**stacked), episodes, version)

    def _step(self) -> tuple[Step, list[tuple[int, dict[str, Any]]]]:
        seen, first, last = self._observation, self._first, self._last
        values = self._agent.q_values(seen)
        actions = self._explorer.choose(values, self._epsilons)
        self._observation, rewards, terminated, truncated, infos = self._env.step(actions)
        self._statistics.step(actions, rewards)
        self._episode_values.add(values, first)
        episodes = [
            (
                i,
                {
                    **self._statistics.episode(i, infos),
                    "epsilon": float(self._epsilons[i]),
                    "q_mean": self._episode_values.mean(i),
                },
            )
            for i in np.flatnonzero(terminated | truncated).tolist()
        ]
        # Next-step autoreset: what an ended episode shows next is the first frame of another.
        self._first, self._last = last, terminated | truncated
        self._statistics.begin(self._first, infos)
        return (
            Step(
                seen[..., -1] if self._made_for.is_image else seen,
                first,
                last,
                actions,
                rewards,
                terminated,
                truncated,
                infos.get("life_lost", np.zeros(len(actions), bool)),
                greedy=actions == values.argmax(axis=1),
            ),
            episodes,
        )

    def close(self):
        """Stop the browser."""
        if self._env is not None:
            self._env.close()

    def whereabouts(self) -> tuple[int, str]:
        """Process id, and the node's."""
        return os.getpid(), ray.get_runtime_context().get_node_id()


_RemoteActor = ray.remote(num_cpus=1, max_restarts=0)(Actor)


class ActorPool:
    """N actors that play without a pause, each at most `in_flight` rollouts ahead of the learner.

    An actor that is lost, with its machine or by its browser, is started again, wherever there is room.

    Args:
        settings: of the run; `on_ray.actors` is N.

    Raises:
        DinoError: an actor cannot make its environments.
    """

    def __init__(self, settings: RunSettings):
        self._settings = settings
        self.num_envs = settings.env.num_envs * settings.on_ray.actors
        self._actors: list[Any] = [None] * settings.on_ray.actors
        self._generations = [0] * len(self._actors)
        self._failures = [0] * len(self._actors)  # in a row
        self._pending: dict[Any, int] = {}  # rollouts to come, and whose they are
        for index in range(len(self._actors)):
            self._start(index)
        try:
            self.made_for: Interface = ray.get(self._actors[0].made_for.remote())
        except RayTaskError as error:
            self.close()
            raise _cause(error) from error
        except BaseException:
            self.close()
            raise

    def _start(self, index: int):
        make = _RemoteActor.options(scheduling_strategy="SPREAD")
        self._actors[index] = make.remote(self._settings, index, len(self._actors), self._generations[index])
        self._generations[index] += 1

    def publish(self, weights: list[np.ndarray], version: int):
        """Give these weights to all rollouts that begin from now on; each machine fetches them once."""
        self._weights, self._version = ray.put(weights), version

    def play_on(self):
        """Have every actor at work."""
        for index in range(len(self._actors)):
            owed = self._settings.on_ray.in_flight - sum(who == index for who in self._pending.values())
            for _ in range(owed):
                rollout = self._actors[index].roll_out.remote(self._weights, self._version)
                self._pending[rollout] = index

    def wait(self, timeout_s: float) -> tuple[list[Rollout], list[int]]:
        """Rollouts that have come, and the actors that had to be started again.

        Raises:
            BrowserError: an actor was lost again and again.
        """
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=timeout_s)
        if ready:  # and what has come beside it
            ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        rollouts, lost = [], []
        for one in ready:
            index = self._pending.pop(one, None)
            if index is None:  # its actor was lost a moment ago
                continue
            try:
                rollouts.append(ray.get(one))
                self._failures[index] = 0
            except RayTaskError as error:
                if not isinstance(_cause(error), BrowserError):
                    raise _cause(error) from error
                self._replace(index, error)
                lost.append(index)
            except RayError as error:
                self._replace(index, error)
                lost.append(index)
        return rollouts, lost

    def _replace(self, index: int, error: Exception):
        self._failures[index] += 1
        if self._failures[index] > RESTARTS:
            raise BrowserError(
                f"Actor {index} was lost {RESTARTS} times in a row ({_first_line(error)})."
            ) from error
        self._pending = {one: who for one, who in self._pending.items() if who != index}
        _end(self._actors[index])
        self._start(index)

    def whereabouts(self) -> list[tuple[int, str]]:
        """Process id and node of each actor, for who wants to look at them."""
        return ray.get([actor.whereabouts.remote() for actor in self._actors])

    def close(self):
        """End all actors and their browsers."""
        self._pending = {}
        for actor in self._actors:
            if actor is not None:
                _end(actor)


def _end(actor: Any):
    with suppress(RayError):
        ray.get(actor.close.remote(), timeout=CLOSE_TIMEOUT_S)
    ray.kill(actor)


def _cause(error: RayTaskError) -> Exception:
    """What was raised in the actor: its message has no traceback of another machine in it."""
    return error.cause if isinstance(error.cause, DinoError) else error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
