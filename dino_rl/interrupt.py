"""Ending a run by a signal, in good order."""

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

from dino_rl.errors import EXIT_INTERRUPTED, EXIT_TERMINATED


class Stoppable(Protocol):
    """Ends after the step at hand once `stopped` is set."""

    stopped: bool


def handled(*names: str) -> list[int]:
    """Numbers of the signals that there are on this system and that are not ignored.

    What ignores a signal for a program that it starts, as `nohup` does SIGHUP, wants the program to go on.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]


class Terminated(KeyboardInterrupt):
    """SIGTERM: another program ended this one, not the user."""


def interrupt(number: int, frame: object) -> NoReturn:
    """A signal handler that ends the command at once.

    Raises:
        Terminated: the signal is SIGTERM.
        KeyboardInterrupt: it is another.
    """
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def stop_on_signals(run: Stoppable) -> Iterator[list[int]]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the run after the current step; a second ends it at once.

    Yields:
        the numbers of the signals that came.
    """
    came: list[int] = []

    def stop(number, frame):
        came.append(number)
        if run.stopped:
            interrupt(number, frame)
        run.stopped = True

    before = {number: signal.signal(number, stop) for number in handled("SIGINT", "SIGTERM", "SIGHUP")}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(signals: Collection[int]) -> int:
    """Of a command that such signals have ended."""
    return EXIT_TERMINATED if signal.SIGTERM in signals else EXIT_INTERRUPTED
