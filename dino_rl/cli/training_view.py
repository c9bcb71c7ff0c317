"""The progress of a run on the terminal."""

from typing import Any

from dino_rl.terminal import console, interval_line, iteration_line, progress_bar, validation_line
from dino_rl.training.algorithm import Slice
from dino_rl.training.callbacks import Callback
from dino_rl.training.run import Run


class TrainingView(Callback):
    """A progress bar on a screen, and a line for each interval, iteration, validation and fault."""

    def __init__(self):
        self._bar = progress_bar()
        self._task = self._bar.add_task("training", total=1.0)

    def on_start(self, run: Run) -> None:
        self._bar.start()

    def on_slice(self, run: Run, part: Slice) -> None:
        if part.fault:
            console.print(f"{part.fault} Starting again; the episodes that were running are lost.")

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._bar.update(self._task, completed=row["progress"])
        console.print(interval_line(row))

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        console.print(iteration_line(row))

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        console.print(validation_line(row))

    def close(self) -> None:
        self._bar.stop()
