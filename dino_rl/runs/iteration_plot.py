"""The iterations of the cross-entropy method, drawn."""

import time
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dino_rl.runs.csv_log import read_table
from dino_rl.runs.figure import save_on_both

DRAW_EVERY_S = 10.0  # drawing takes longer than a short iteration


class IterationChart:
    """`iterations-light.png` and `iterations-dark.png` in a run's directory: mean return and threshold of all
    iterations in `iterations.csv`, and the distribution of returns in the last one.

    Args:
        run_dir: the run's directory.
    """

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._pending: dict | None = None
        self._drawn_at = 0.0

    def add(self, iteration: dict):
        """Draw an iteration, unless another was drawn in the last seconds.

        Args:
            iteration: "iteration" (its number), "sessions", "mean", "threshold", and the "returns" of all
                sessions.

        Raises:
            RunError: the files cannot be written.
        """
        self._pending = iteration
        if time.monotonic() > self._drawn_at + DRAW_EVERY_S:
            self.close()

    def close(self):
        """Draw what has not been drawn yet.

        Raises:
            RunError: the files cannot be written.
        """
        pending = self._pending
        if pending:
            table = read_table(self._run_dir / "iterations.csv")
            save_on_both(lambda: draw_iterations(table, pending), self._run_dir, "iterations")
            self._pending, self._drawn_at = None, time.monotonic()


def draw_iterations(table: dict[str, list[float]], newest: dict) -> Figure:
    """Progress on the left, the newest iteration's returns on the right.

    Args:
        table: the columns of `iterations.csv`.
        newest: as for `IterationChart.add`.
    """
    figure, (progress, spread) = plt.subplots(1, 2, figsize=(11, 4.2))
    for name, label, colour in (("mean", "mean", "C0"), ("threshold", "elite threshold", "C1")):
        progress.plot(table["iteration"], table[name], "o-", markersize=3, color=colour, label=label)
        style = "--" if name == "mean" else "-"
        value = newest[name]
        spread.axvline(value, color=colour, linestyle=style, linewidth=2, label=f"{label}: {value:.1f}")
    progress.set(title="Progress", xlabel="iteration", ylabel="return of a session", ylim=_from_zero(table))
    progress.xaxis.set_major_locator(MaxNLocator(integer=True))
    spread.hist(newest["returns"], bins=25, color="C0", alpha=0.45)
    title = f"Iteration {newest['iteration']}: {newest['sessions']} sessions"
    spread.set(title=title, xlabel="return of a session", ylabel="number of sessions")
    spread.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (progress, spread):
        axis.legend()
    return figure


def _from_zero(table: dict[str, list[float]]) -> tuple[float | None, None]:
    return (0.0 if min(table["mean"]) >= 0 else None), None
