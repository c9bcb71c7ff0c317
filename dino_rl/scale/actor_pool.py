"""The actors of a run, as Ray's remote objects: started, kept busy, and replaced when they are lost."""

from contextlib import suppress
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from dino_rl.errors import DinoError, EnvError, first_line
from dino_rl.scale.actors import Actor, Rollout
from dino_rl.train_config import TrainConfig

CLOSE_TIMEOUT_S = 10
MAX_RESTARTS = 5  # of one actor, without a single rollout between them

_RemoteActor = ray.remote(num_cpus=1, max_restarts=0)(Actor)


class ActorPool:
    """N actors that play without a pause, each at most `in_flight` rollouts ahead of the learner.

    An actor that is lost, with its machine or by its browser, is started again, wherever there is room.

    Args:
        config: of a run with actors.

    Raises:
        DinoError: an actor cannot make its environments.
    """

    def __init__(self, config: TrainConfig):
        assert config.actors is not None
        self._config = config
        self._in_flight = config.actors.in_flight
        count = config.actors.actors
        self._actors: list[Any] = [None] * count
        self._generations = [0] * count
        self._failures = [0] * count  # in a row
        self._pending: dict[Any, int] = {}  # the index of the actor of each rollout to come
        opening = [self._start(index) for index in range(count)]
        try:
            # What is wrong with the environments of one actor is wrong with those of all. The others may have
            # to wait for room in the cluster.
            ray.get(opening[0])
        except RayTaskError as error:
            self.close()
            raise _cause(error) from error
        except BaseException:
            self.close()
            raise

    def _start(self, index: int) -> Any:
        """Start an actor; returns a reference to wait for its environments."""
        remote = _RemoteActor.options(scheduling_strategy="SPREAD")
        self._actors[index] = remote.remote(self._config, index, self._generations[index])
        self._generations[index] += 1
        return self._actors[index].open.remote()

    def publish(self, weights: list[np.ndarray], version: int) -> None:
        """Use these weights in all rollouts that begin from now on. Each machine fetches them once."""
        self._weights, self._version = ray.put(weights), version

    def play(self) -> None:
        """Start rollouts, until each actor has `in_flight` of them to make."""
        for index, actor in enumerate(self._actors):
            missing = self._in_flight - sum(owner == index for owner in self._pending.values())
            for _ in range(missing):
                self._pending[actor.roll_out.remote(self._weights, self._version)] = index

    def wait(self, timeout_s: float) -> tuple[list[Rollout], list[int]]:
        """Wait for a rollout.

        Returns:
            all rollouts that are ready, and the indices of the actors that had to be started again.

        Raises:
            EnvError: an actor was lost again and again.
        """
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=timeout_s)
        if ready:  # perhaps others, too
            ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        rollouts, lost = [], []
        for reference in ready:
            index = self._pending.pop(reference, None)
            if index is None:  # its actor was found to be lost a moment ago
                continue
            try:
                rollouts.append(ray.get(reference))
                self._failures[index] = 0
            except RayTaskError as error:
                cause = _cause(error)
                if not isinstance(cause, EnvError):
                    raise cause from error
                self._replace(index, cause)
                lost.append(index)
            except RayError as error:
                self._replace(index, error)
                lost.append(index)
        return rollouts, lost

    def _replace(self, index: int, error: Exception):
        self._failures[index] += 1
        if self._failures[index] > MAX_RESTARTS:
            message = f"Actor {index} was lost {MAX_RESTARTS} times in a row ({first_line(error)})."
            raise EnvError(message) from error
        self._pending = {each: owner for each, owner in self._pending.items() if owner != index}
        _end(self._actors[index])
        self._start(index)

    def processes_and_nodes(self) -> list[tuple[int, str]]:
        """Process id and node of each actor."""
        return ray.get([actor.process_and_node.remote() for actor in self._actors])

    def close(self) -> None:
        """End all actors and their environments."""
        self._pending = {}
        for actor in self._actors:
            if actor is not None:
                _end(actor)


def _end(actor: Any):
    with suppress(RayError):
        ray.get(actor.close.remote(), timeout=CLOSE_TIMEOUT_S)
    ray.kill(actor)


def _cause(error: RayTaskError) -> Exception:
    """What was raised in the actor, without the traceback of another machine in its message."""
    return error.cause if isinstance(error.cause, DinoError) else error
