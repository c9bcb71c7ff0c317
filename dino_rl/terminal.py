"""Output on the terminal: live on a screen, plain lines in a pipe."""

import math
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dino_rl.runs import RunDirectory

BARS = " ▁▂▃▄▅▆▇█"
console = Console(highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """A bar with a description, the share that is done and times. Nothing in a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def number(value: float) -> str:
    """A readable number: 12,345 or 0.0123; a dash for NaN and infinity."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def histogram(values: Sequence[float], bins: int = 20) -> tuple[str, float, float]:
    """A histogram of values as a row of bars: (bars, minimum, maximum)."""
    counts, _ = np.histogram(values, bins)
    heights = np.ceil(counts / counts.max() * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights), float(np.min(values)), float(np.max(values))


# --- Training ----------------------------------------------------------------------------------------------

INTERVAL = (  # the columns of intervals.csv that are shown where they have a value: name, column, format
    ("score", "score_mean", number),
    ("greedy", "greedy_score_mean", number),
    ("epsilon", "epsilon", "{:.3f}".format),
    ("loss", "loss", "{:.4f}".format),
    ("q", "q_mean", "{:+.3f}".format),
)


def interval_line(row: dict) -> str:
    """A row of intervals.csv."""
    return (
        f"{row['minutes']:6.1f} min  step {row['step']:>9,}  "
        + "".join(
            f"{name} {form(row[column]):>6}  "
            for name, column, form in INTERVAL
            if math.isfinite(row.get(column, math.nan))
        )
        + f"{row['steps_per_s']:.0f} steps/s  {row['updates_per_s']:.0f} updates/s"
    )


def iteration_line(row: dict) -> str:
    """An iteration of the cross-entropy method: a row of iterations.csv with the "returns"."""
    bars, low, high = histogram(row["returns"])
    return (
        f"{row['minutes']:6.1f} min  step {row['step']:>9,}  iteration {row['iteration']:>3}  "
        f"mean {number(row['mean']):>6}  threshold {number(row['threshold']):>6}  "
        f"elites {row['elites']:>3} of {row['sessions']}  returns {number(low)} {bars} {number(high)}"
    )


def validation_line(row: dict) -> str:
    """A row of validations.csv."""
    mark = "  [bold green]best so far[/]" if row["best"] else ""
    return (
        f"[bold]validation[/] after {row['minutes']:.1f} min: mean {number(row['mean'])}, "
        f"median {number(row['median'])}, max {number(row['max'])} "
        f"({row['games']} games, {row['capped']} at the cap){mark}"
    )


# --- Tables ------------------------------------------------------------------------------------------------


def score_table(title: str, summary: dict, chance: dict | None = None) -> Table:
    """Statistics of an evaluation, beside those of random play if there are any."""
    names = ("", "model", "random play") if chance else ("", "model")
    table = Table(*names, title=title, show_header=chance is not None)
    columns = [summary] + ([chance] if chance else [])
    for name in ("games", "mean", "median", "max", "min", "std", "capped"):
        table.add_row(name, *(number(column[name]) for column in columns))
        if name == "mean":
            bounds = (" to ".join(map(number, column["confidence"])) for column in columns)
            table.add_row("mean, 95 % confidence interval", *bounds)
    if "late_decisions" in summary:
        table.add_row("late decisions", f"{summary['late_decisions']:.1%}")
    delays = summary.get("delays", {"keys": 0})
    if delays["keys"]:
        median, p99 = delays["median_ms"], delays["p99_ms"]
        table.add_row("frame to key", f"median {median:.1f} ms, 99th percentile {p99:.1f} ms")
    return table


def run_table(runs: list[RunDirectory]) -> Table:
    """Training runs, one per line."""
    table = Table("run", "environment", "algo", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("steps", "minutes", "best"):
        table.add_column(name, justify="right")
    table.add_column("started")
    for run in runs:
        table.add_row(
            run.name,
            run.env,
            run.algorithm,
            number(run.steps),
            f"{run.minutes:.1f}",
            number(run.best_validation),
            time.strftime("%d %b %H:%M", time.localtime(run.started)),
        )
    for column in table.columns:
        column.no_wrap = True
    return table


def death_table(counts: list[tuple[str, int]]) -> Table:
    """How games ended, and how often."""
    table = Table("games ended by", "games", show_edge=False)
    for what, games in counts:
        table.add_row(what, str(games))
    return table


# --- The game ----------------------------------------------------------------------------------------------


class GameView:
    """The game as text, for terminals without a display: half blocks, ink for dark pixels.

    Args:
        enabled: otherwise nothing is drawn, and nothing in a pipe either.
    """

    WIDTH, HEIGHT = 80, 40  # half blocks; each stands for two rows of the frame

    def __init__(self, enabled: bool):
        self._enabled = enabled and console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "GameView":
        if self._enabled:
            self._live.start()
        return self

    def __exit__(self, *_):
        self._live.stop()

    def show(self, frame: np.ndarray, line: str):
        """Draw a frame, uint8 [80, 80], and a line below it."""
        if not self._enabled:
            return
        ink = (frame.reshape(self.HEIGHT, 2, self.WIDTH).min(axis=1) < 200).reshape(self.HEIGHT // 2, 2, -1)
        blocks = np.array([" ", "▄", "▀", "█"])[2 * ink[:, 0].astype(int) + ink[:, 1]]
        self._live.update(Text("\n".join("".join(row) for row in blocks) + f"\n{line}"), refresh=True)
