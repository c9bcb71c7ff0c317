"""Output on the terminal: live on a screen, plain lines in a pipe."""

import math
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from dino_rl.runs import RunDirectory
from dino_rl.streams import drop_output
from dino_rl.verbosity import verbosity

LINE_EVERY_S = 15.0  # in a pipe, from one line about progress to the next
UPDATE_EVERY_S = 0.1  # of a bar
BARS, ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


class _Console(Console):
    """Raises BrokenPipeError when its reader is gone (`... | head`), and says nothing more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        drop_output()
        raise BrokenPipeError


# No markup unless it is asked for: a path may have brackets in its name.
console = _Console(highlight=False, soft_wrap=True, markup=False)


def note(text: str, style: str | None = None, markup: bool = False) -> None:
    """Print what happens on the way to a result: nothing with --quiet."""
    if not verbosity.quiet:
        console.print(text, style=style, markup=markup)


class Progress:
    """How far some work is, and how long the rest takes: a bar on a screen, a line now and then in a pipe,
    nothing with --quiet.

    Args:
        what: is being done.
        lines: print lines in a pipe. Without them, what else is printed shows how far the work is.
    """

    def __init__(self, what: str, lines: bool = True):
        self._what = what
        self._lines = lines and not console.is_terminal and not verbosity.quiet
        self._started = self._line_at = time.monotonic()
        self._updated_at = -math.inf
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=console,
            disable=verbosity.quiet or not console.is_terminal,
            transient=True,
        )
        # Without a total, the bar moves to show that something happens.
        self._task = self._bar.add_task(what, total=None, share="", ends_at=math.nan)

    def __enter__(self) -> "Progress":
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Show it."""
        self._bar.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def update(self, share: float, left_s: float | None = None) -> None:
        """Show how far the work is.

        Args:
            share: that is done, 0 to 1.
            left_s: time that the rest takes; None: as the part that is done.
        """
        now = time.monotonic()
        if now - self._updated_at < UPDATE_EVERY_S:
            return
        self._updated_at = now
        if left_s is None:
            left_s = time_left(share, self._started)
        self._bar.update(self._task, completed=share, total=1.0, share=f"{share:3.0%}", ends_at=now + left_s)
        if self._lines and now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            console.print(f"{self._what}: {progress_text(share, left_s)}")


class _TimeLeft(ProgressColumn):
    """Counts down between updates."""

    def render(self, task: Task) -> Text:
        return Text(_left(task.fields["ends_at"] - time.monotonic()).removeprefix(", "))


def time_left(share: float, started: float) -> float:
    """Seconds that the rest of some work takes, if it goes on as since `started` (by `time.monotonic`); NaN
    if nothing is done yet."""
    return (time.monotonic() - started) * (1 - share) / share if share > 0 else math.nan


def progress_text(share: float, left_s: float) -> str:
    """How far some work is: 40%, 3 min left."""
    return f"{share:.0%}{_left(left_s)}"


def _left(seconds: float) -> str:
    return f", {duration(max(0.0, seconds))} left" if math.isfinite(seconds) else ""


def duration(seconds: float) -> str:
    """A time for people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def number(value: float) -> str:
    """A readable number: 12,345 or 0.0123; a dash for NaN and infinity."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def histogram(values: Sequence[float], bins: int = 20) -> tuple[str, float, float]:
    """A histogram of values as a row of bars: (bars, minimum, maximum)."""
    counts, _ = np.histogram(values, bins)
    bars = BARS if _can_show(BARS) else ASCII_BARS
    heights = np.ceil(counts / counts.max() * (len(bars) - 1)).astype(int)
    return "".join(bars[height] for height in heights), float(np.min(values)), float(np.max(values))


def _can_show(text: str) -> bool:
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# --- Training ----------------------------------------------------------------------------------------------

INTERVAL = (  # the columns of intervals.csv that are shown where they have a value: name, column, format
    ("score", "score_mean", number),
    ("greedy", "greedy_score_mean", number),
    ("epsilon", "epsilon", "{:.3f}".format),
    ("loss", "loss", "{:.4f}".format),
    ("q", "q_mean", "{:+.3f}".format),
)


def interval_line(row: dict, left_s: float | None = None) -> str:
    """A row of intervals.csv, and the time to the end of the run, if it is known."""
    return (
        f"{row['minutes']:6.1f} min  step {row['step']:>9,}  "
        + "".join(
            f"{name} {form(row[column]):>6}  "
            for name, column, form in INTERVAL
            if math.isfinite(row.get(column, math.nan))
        )
        + f"{row['steps_per_s']:.0f} steps/s  {row['updates_per_s']:.0f} updates/s"
        + _left(math.nan if left_s is None else left_s)
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
    # In Python the way from the page and back counts, too; in the page there is none.
    for name, part in (("frame to key", "delays"), ("decision in the page", "timing")):
        times = summary.get(part, {})
        if "median_ms" in times:
            median, p99 = times["median_ms"], times["p99_ms"]
            table.add_row(name, f"median {median:.1f} ms, 99th percentile {p99:.1f} ms")
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
