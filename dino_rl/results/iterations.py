"""The iterations of the cross-entropy method, drawn."""

import time
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dino_rl.results.plots import save_on_both
from dino_rl.results.runlog import read_table

DRAW_EVERY_S = 10.0  # a chart takes longer than a short iteration


class IterationChart:
    """`iterations-light.png` and `iterations-dark.png` in a run's directory: mean return and threshold of all
    iterations in `iterations.csv`, and how the returns of the last one spread. None before the first.
    """

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._newest: dict | None = None  # what is still to be drawn
        self._drawn_at = 0.0

    def add(self, milestone: dict):
        """Draw what an iteration came to, unless something was drawn a moment ago."""
        self._newest = milestone
        if time.monotonic() > self._drawn_at + DRAW_EVERY_S:
            self.close()

    def close(self):
        """Draw what has not been drawn yet."""
        newest = self._newest
        if newest:
            table = read_table(self._run_dir / "iterations.csv")
            save_on_both(lambda: draw(table, newest), self._run_dir, "iterations")
            self._newest, self._drawn_at = None, time.monotonic()


def draw(table: dict[str, list[float]], newest: dict) -> Figure:
    """Progress on the left, the newest iteration's returns on the right.

    Args:
        table: the columns of `iterations.csv`.
        newest: the last milestone of `agents.cem.CEM`.
    """
    figure, (progress, spread) = plt.subplots(1, 2, figsize=(11, 4.2))
    for name, label, colour in (("mean", "mean", "C0"), ("threshold", "threshold of the elites", "C1")):
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
