"""The iterations of the cross-entropy method, drawn."""

import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt

from dino_rl.results.runlog import read_table

DRAW_EVERY_S = 5.0  # a chart takes longer than a short iteration


class IterationChart:
    """`iterations.png` in a run's directory: mean return and threshold of all iterations, from
    `iterations.csv`, and how the returns of the last one spread. None is drawn before the first iteration."""

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
        if self._newest:
            figure = draw(read_table(self._run_dir / "iterations.csv"), self._newest)
            figure.savefig(self._run_dir / "iterations.png", dpi=110)
            plt.close(figure)
            self._newest, self._drawn_at = None, time.monotonic()


def draw(table: dict[str, list[float]], newest: dict) -> plt.Figure:
    """Progress on the left, the newest iteration's returns on the right.

    Args:
        table: the columns of `iterations.csv`.
        newest: the last milestone of `agents.cem.CEM`.
    """
    figure, (progress, spread) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    progress.plot(table["iteration"], table["mean"], color="C0", linewidth=2, label="mean return")
    progress.plot(
        table["iteration"], table["threshold"], color="C1", linewidth=2, label="threshold of the elites"
    )
    progress.set(title="Progress", xlabel="iteration", ylabel="return of a session")
    progress.legend()
    spread.hist(newest["returns"], bins=25, color="C0", alpha=0.8)
    spread.axvline(
        newest["mean"], color="C0", linestyle="--", linewidth=2, label=f"mean {newest['mean']:.1f}"
    )
    spread.axvline(newest["threshold"], color="C1", linewidth=2, label=f"threshold {newest['threshold']:.1f}")
    spread.set(
        title=f"Iteration {newest['iteration']}, {newest['sessions']} sessions",
        xlabel="return of a session",
        ylabel="sessions",
    )
    spread.legend()
    for axis in (progress, spread):
        axis.grid(alpha=0.25)
    return figure
