"""A run's numbers as CSV files that a spreadsheet opens."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dino_rl.errors import RunError
from dino_rl.runs.output import cannot_write, reason, whole_file

EPISODE_COLUMNS = ("episode", "step", "minutes", "env", "greedy", "score", "return", "length")
INTERVAL_COLUMNS = (
    *("step", "minutes", "updates", "episodes", "progress", "score_mean", "greedy_score_mean"),
    *("steps_per_s", "updates_per_s", "env_wait_share", "learn_share"),
)
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
    """The columns of a CSV file of numbers, by name; NaN for empty cells. A missing file is an empty table.

    Raises:
        RunError: the file is damaged.
    """
    columns: dict[str, list[float]] = {}
    for row in _rows(path):
        for name, value in row.items():
            columns.setdefault(name, []).append(_number(path, value) if value else float("nan"))
    return columns


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.exists():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({reason(error)}).") from error


def _is_complete(row: dict) -> bool:
    """A run that is killed while it writes leaves a row with too few cells."""
    return None not in row and None not in row.values()


def _number(path: Path, text: str | None) -> float:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {text!r} is not a number.") from error


class RunLog:
    """The tables of one run: episodes, intervals, validations, and for some algorithms iterations.

    Args:
        run_dir: their directory. It must exist.
        episode_columns, interval_columns: those of the environment and the algorithm, after the common ones.
        iteration_columns: those of iterations.csv; empty for algorithms without iterations.
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
        step: int = 0,
    ):
        self.episodes = Table(run_dir / "episodes.csv", EPISODE_COLUMNS + episode_columns, step)
        self.intervals = Table(run_dir / "intervals.csv", INTERVAL_COLUMNS + interval_columns, step)
        self.validations = Table(run_dir / "validations.csv", VALIDATION_COLUMNS, step)
        self._tables = [self.episodes, self.intervals, self.validations]
        if iteration_columns:
            columns = ("step", "minutes", *iteration_columns)
            self.iterations = Table(run_dir / "iterations.csv", columns, step)
            self._tables.append(self.iterations)

    def close(self):
        for table in self._tables:
            table.close()
