"""The progress of a run on the terminal."""

from contextlib import suppress
from typing import Any

from dino_rl.terminal import Progress, console, interval_line, iteration_line, note, validation_line
from dino_rl.training.algorithm import Slice
from dino_rl.training.callbacks import Callback
from dino_rl.training.run import Run


class TrainingView(Callback):
    """A progress bar on a screen, and a line for each interval, iteration, validation and fault.

    When nobody reads the lines any more (`train ... | head`), the run is stopped, as by Ctrl-C.
    """

    def __init__(self):
        self._progress = Progress("training", lines=False)

    def on_start(self, run: Run) -> None:
        self._progress.start()

    def on_slice(self, run: Run, part: Slice) -> None:
        left_s = run.seconds_left
        if left_s is not None:
            self._progress.update(run.seconds / (run.seconds + left_s), left_s)

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._say(run, interval_line(row, run.seconds_left))

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        self._say(run, iteration_line(row))

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._say(run, validation_line(row), markup=True)

    def on_fault(self, run: Run, row: dict[str, Any]) -> None:
        self._say(run, f"{row['time']}  {row['kind']}: {row['message']} Starting again.")

    def _say(self, run: Run, line: str, markup: bool = False):
        try:
            note(line, markup=markup)
        except BrokenPipeError:
            run.stopped = True
        except OSError:  # the terminal is gone, or the disk that the output goes to is full: train on
            console.quiet = True

    def close(self) -> None:
        with suppress(OSError):
            self._progress.stop()
