"""Environments that stop working: which faults are survived, how often, and by what."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import gymnasium

from dino_rl.errors import EnvError
from dino_rl.training.rollout import (
    Episode,
    Evaluation,
    Moves,
    OnStep,
    Policy,
    play_episodes,
    play_in_parallel,
)

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")

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


class Replaceable(Generic[T]):
    """What lives in a browser, and is made anew when that fails.

    Args:
        make: makes it, and ends it when the context is left.
        on_fault: called with each fault that is survived.
        has_worked: such things have worked before: making one is tried as often as when one fails later. Else
            it is tried twice.

    Raises:
        EnvError: it cannot be made.
    """

    def __init__(
        self,
        make: Callable[[], AbstractContextManager[T]],
        on_fault: Callable[[EnvError], None] = lambda error: None,
        has_worked: bool = False,
    ):
        self._make = make
        self._on_fault = on_fault
        self._faults = FaultCount()
        self._opened = ExitStack()
        self.current: T | None = None  # None between a fault and the next use
        while self.current is None:  # a browser can die while it starts
            try:
                self._open()
            except EnvError as error:
                if self._faults.any and not has_worked:
                    raise
                self._survive(error)

    def use(self, work: Callable[[T], R]) -> R:
        """The result of some work, which begins again with a new one when this one fails.

        Raises:
            EnvError: it failed again and again, without `progress` between.
        """
        while True:
            try:
                return work(self._open() if self.current is None else self.current)
            except EnvError as error:
                self._survive(error)

    def progress(self) -> None:
        """Some of the work is done: forget the faults before."""
        self._faults.progress()

    def _open(self) -> T:
        with ExitStack() as opened:
            self.current = opened.enter_context(self._make())
            self._opened = opened.pop_all()
        return self.current

    def _survive(self, error: EnvError):
        self.close()
        self._faults.add(error)
        self._on_fault(error)

    def close(self) -> None:
        """End it. A second call has no effect."""
        self.current = None
        with suppress(EnvError, OSError):  # a browser that crashed cannot be closed in good order
            self._opened.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_):
        self.close()


class ReplaceableEnvs(Replaceable[list[gymnasium.vector.VectorEnv]]):
    """Environments to measure an agent in, which are made anew when they fail. Games that have ended count;
    those that were being played are played again, from their seeds.

    Args:
        make: makes them, without autoreset.
        on_fault, has_worked: as of `Replaceable`.
        repeatable: equal seeds and actions give equal games. `play` then repeats the actions that were taken
            before a fault, so that games longer than the time between two faults come to an end, too.

    Raises:
        EnvError: they cannot be made.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[gymnasium.vector.VectorEnv]],
        on_fault: Callable[[EnvError], None] = lambda error: None,
        has_worked: bool = False,
        repeatable: bool = False,
    ):
        self._repeatable = repeatable

        @contextmanager
        def opened() -> Iterator[list[gymnasium.vector.VectorEnv]]:
            with ExitStack() as stack:
                yield [stack.enter_context(closing(env)) for env in make()]

        super().__init__(opened, on_fault, has_worked)

    @property
    def envs(self) -> list[gymnasium.vector.VectorEnv]:
        """As they are now; none between a fault and the next game."""
        return self.current or []

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
        moves: Moves = {}
        furthest = 0

        def keep(episode: Episode):
            nonlocal furthest
            ended[episode.seed] = episode
            del moves[episode.seed]
            furthest = 0
            self.progress()
            on_episode(episode)

        def step(scores: dict[int, float]) -> None:
            nonlocal furthest
            reached = sum(map(len, list(moves.values())))  # other threads add some
            if self._repeatable and reached > furthest:  # it goes on where it failed
                furthest = reached
                self.progress()
            if on_step:
                on_step(scores)

        def play(envs: list[gymnasium.vector.VectorEnv]) -> Evaluation:
            if not self._repeatable:
                moves.clear()
            return play_in_parallel(envs, policy, seeds, keep, step, frozenset(ended), moves)

        self.use(play)
        return Evaluation([ended[seed] for seed in sorted(ended)])

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
            self.progress()
            on_episode(episode)

        self.use(lambda envs: play_episodes(wrap(envs[0]), policy, left(), keep))
        return evaluation
