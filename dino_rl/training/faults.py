"""Environments that stop working: which faults are survived, how often, and by what."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import gymnasium

from dino_rl.errors import EnvError
from dino_rl.training.rollout import Episode, Evaluation, OnStep, Policy, play_episodes, play_in_parallel

MAX_FAULTS = 5  # without any progress between them


class FaultCount:
    """Decides whether a fault is survived: a browser may die now and then, but not again and again."""

    def __init__(self) -> None:
        self._faults = 0

    def add(self, error: EnvError) -> None:
        """Count a fault.

        Raises:
            EnvError: there have been too many without progress, or it is of no use to try again.
        """
        if not error.retry:
            raise error
        self._faults += 1
        if self._faults > MAX_FAULTS:
            raise type(error)(f"{error} It was the fault number {self._faults} without progress.") from error

    def progress(self) -> None:
        """The environments work: forget the faults before."""
        self._faults = 0

    @property
    def any(self) -> bool:
        """Whether there has been a fault without progress since."""
        return self._faults > 0


class ReplaceableEnvs:
    """Environments to measure an agent in, which are made anew when they fail. Games that have ended count;
    those that were being played are played again, from their seeds.

    Args:
        make: makes them, without autoreset.
        on_fault: called with each fault that is survived.
        has_worked: environments of this kind have worked before: when they cannot be made, it is tried as
            often as when they fail later. Else it is tried twice.

    Raises:
        EnvError: they cannot be made.

    Attributes:
        envs: as they are now.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[gymnasium.vector.VectorEnv]],
        on_fault: Callable[[EnvError], None] = lambda error: None,
        has_worked: bool = False,
    ):
        self._make = make
        self._on_fault = on_fault
        self._faults = FaultCount()
        self._opened = ExitStack()
        self.envs: list[gymnasium.vector.VectorEnv] = []
        while not self.envs:  # a browser can die while it starts
            try:
                self._open()
            except EnvError as error:
                if self._faults.any and not has_worked:
                    raise
                self._survive(error)

    def play(
        self,
        policy: Policy,
        seeds: Sequence[int],
        on_episode: Callable[[Episode], None] = lambda episode: None,
        on_step: OnStep | None = None,
    ) -> Evaluation:
        """One game for each seed, as `play_in_parallel` plays them.

        Raises:
            EnvError: the environments failed again and again; `on_episode` has received the games that ended.
        """
        ended: dict[int, Episode] = {}

        def keep(episode: Episode):
            ended[episode.seed] = episode
            self._faults.progress()
            on_episode(episode)

        while True:
            try:
                if not self.envs:
                    self._open()
                play_in_parallel(self.envs, policy, seeds, keep, on_step, frozenset(ended))
                return Evaluation([ended[seed] for seed in sorted(ended)])
            except EnvError as error:
                self._survive(error)

    def play_in_turn(
        self,
        policy: Policy,
        seeds: Iterable[int],
        on_episode: Callable[[Episode], None] = lambda episode: None,
        wrap: Callable[[gymnasium.vector.VectorEnv], gymnasium.vector.VectorEnv] = lambda env: env,
    ) -> Evaluation:
        """As `play`, one game after the other, in the first environment. There may be seeds without end.
        `wrap` receives the environment, and each that replaces it."""
        waiting = iter(seeds)
        under_way: list[int] = []
        evaluation = Evaluation()

        def left() -> Iterator[int]:
            yield from under_way
            for seed in waiting:
                under_way[:] = [seed]
                yield seed

        def keep(episode: Episode):
            under_way.clear()
            evaluation.episodes.append(episode)
            self._faults.progress()
            on_episode(episode)

        while True:
            try:
                if not self.envs:
                    self._open()
                play_episodes(wrap(self.envs[0]), policy, left(), keep)
                return evaluation
            except EnvError as error:
                self._survive(error)

    def _open(self):
        with ExitStack() as opened:
            envs = [opened.enter_context(closing(env)) for env in self._make()]
            self._opened = opened.pop_all()
        self.envs = envs

    def _survive(self, error: EnvError):
        self.close()
        self._faults.add(error)
        self._on_fault(error)

    def close(self) -> None:
        """Close the environments. A second call has no effect."""
        self.envs = []
        with suppress(EnvError, OSError):  # a browser that crashed cannot be closed in good order
            self._opened.close()

    def __enter__(self) -> "ReplaceableEnvs":
        return self

    def __exit__(self, *_):
        self.close()
