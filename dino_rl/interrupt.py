"""Ending a run by a signal, in good order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """Ends after the step at hand once `stopped` is set."""

    stopped: bool


@contextmanager
def stop_on_signals(run: Stoppable) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the run after the current step; a second ends it at once."""

    def stop(number, frame):
        if run.stopped:
            raise KeyboardInterrupt
        run.stopped = True

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
