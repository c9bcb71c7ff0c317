"""A run's numbers as CSV files that a spreadsheet opens."""

import csv
import io
import math
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TextIO

from dino_rl.errors import RunError
from dino_rl.runs.input import open_file
from dino_rl.runs.output import cannot_write, reason, whole_file

MAX_LINE = 2**16
LARGEST = 1e18  # number that a run can come to

EPISODE_COLUMNS = ("episode", "step", "minutes", "env", "greedy", "score", "return", "length")
INTERVAL_COLUMNS = (
    *("step", "minutes", "updates", "episodes", "progress", "score_mean", "greedy_score_mean"),
    *("steps_per_s", "updates_per_s", "env_wait_share", "learn_share"),
)
FAULT_COLUMNS = ("time", "step", "kind", "message")
GAME_COLUMNS = ("step", "minutes", "seed", "score", "length", "capped")  # of a game of a validation
VALIDATION_COLUMNS = ("step", "minutes", "mean", "median", "max", "min", "capped", "games", "best")


class Table:
    """A CSV file that grows row by row. An existing file is continued.

    Args:
        path: the file. Its directory must exist.
        columns: names of the columns, in order.
        step: the run's current step. Rows of later steps, which a killed run leaves, are dropped.

    Raises:
        RunError: the file cannot be written, or is damaged.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int = 0):
        self.columns = columns
        self._path = path
        kept = [row for row in _rows(path) if _is_complete(row) and _number(path, row.get("step")) <= step]
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")  # columns of an older version
            writer.writeheader()
            writer.writerows(kept)
        try:
            self._file = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise cannot_write(path, error) from error
        self._writer = csv.DictWriter(self._file, columns)

    def add(self, row: dict):
        """Write one row; floats with six significant digits.

        Raises:
            RunError: it cannot be written.
        """
        try:
            self._writer.writerow(
                {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            )
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self):
        """Close the file. Every row has been flushed by `add`, which reports what goes wrong."""
        with suppress(OSError):
            self._file.close()


def read_table(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file of numbers, by name; NaN for empty cells and for infinity.

    A missing file is an empty table.

    Raises:
        RunError: the file is damaged.
    """
    columns: dict[str, list[float]] = {}
    for row in _rows(path):
        for name, value in row.items():
            number = _number(path, value) if value else math.nan
            columns.setdefault(name, []).append(number if math.isfinite(number) else math.nan)
    if len({len(column) for column in columns.values()}) > 1:
        raise RunError(f"{path} is damaged: its rows have different lengths.")
    return columns


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as file:
            yield from csv.DictReader(_lines(file))
    except FileNotFoundError:
        return
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({reason(error)}).") from error


def _lines(file: TextIO) -> Iterator[str]:
    """Its lines, of which none is endless."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"a line has {MAX_LINE:,} characters or more")
        yield line


def _is_complete(row: dict) -> bool:
    """A run that is killed while it writes leaves a row with too few cells."""
    return None not in row and None not in row.values()


def _number(path: Path, text: str | None) -> float:
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {str(text)[:60]!r} is not a number.") from error
    if LARGEST < abs(number) < math.inf:
        raise RunError(f"{path} is damaged: {text!r} is too large.")
    return number


class RunLog:
    """The tables of one run: episodes, intervals, validations and their games, iterations of algorithms that
    have some, and faults.

    Args:
        run_dir: their directory. It must exist.
        episode_columns, interval_columns: those of the environment and the algorithm, after the common ones.
        iteration_columns: those of iterations.csv; empty for algorithms without iterations.
        ending_columns: those of the environment in validation_games.csv.
        step: the run's current step.

    Raises:
        RunError: a table cannot be written, or is damaged.
    """

    def __init__(
        self,
        run_dir: Path,
        episode_columns: tuple[str, ...],
        interval_columns: tuple[str, ...],
        iteration_columns: tuple[str, ...] = (),
        ending_columns: tuple[str, ...] = (),
        step: int = 0,
    ):
        self.episodes = Table(run_dir / "episodes.csv", EPISODE_COLUMNS + episode_columns, step)
        self.intervals = Table(run_dir / "intervals.csv", INTERVAL_COLUMNS + interval_columns, step)
        self.validations = Table(run_dir / "validations.csv", VALIDATION_COLUMNS, step)
        self.games = Table(run_dir / "validation_games.csv", GAME_COLUMNS + ending_columns, step)
        self._tables = [self.episodes, self.intervals, self.validations, self.games]
        self._faults_path, self._step = run_dir / "faults.csv", step
        if iteration_columns:
            columns = ("step", "minutes", *iteration_columns)
            self.iterations = Table(run_dir / "iterations.csv", columns, step)
            self._tables.append(self.iterations)

    @cached_property
    def faults(self) -> Table:
        """The table of faults, which most runs do not have."""
        table = Table(self._faults_path, FAULT_COLUMNS, self._step)
        self._tables.append(table)
        return table

    def close(self):
        for table in self._tables:
            table.close()
