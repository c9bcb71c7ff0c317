"""A run's numbers as CSV files that a spreadsheet opens."""

import csv
from pathlib import Path

EPISODE_COLUMNS = ("episode", "step", "minutes", "env", "greedy", "score", "return", "length")
INTERVAL_COLUMNS = (
    *("step", "minutes", "updates", "episodes", "progress", "score_mean", "greedy_score_mean"),
    *("steps_per_s", "updates_per_s", "env_wait_share", "learn_share"),
)
VALIDATION_COLUMNS = ("step", "minutes", "mean", "median", "max", "min", "capped", "games", "best")


class Table:
    """A CSV file that grows by a row at a time. An existing file is continued.

    Args:
        path: the file.
        columns: its columns, in order.
        step: where the run stands; rows of later steps (of a run that was killed) are dropped.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int = 0):
        self.columns = columns
        kept = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if _is_whole(row) and int(row["step"]) <= step]
        part = path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")  # of what an older version wrote
            writer.writeheader()
            writer.writerows(kept)
        part.replace(path)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns)

    def add(self, row: dict):
        """Write one row; floats to six digits."""
        self._writer.writerow(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        )
        self._file.flush()

    def close(self):
        self._file.close()


def _is_whole(row: dict) -> bool:
    return None not in row and None not in row.values()


def read_table(path: Path) -> dict[str, list[float]]:
    """Columns of a CSV file of numbers, by name. A missing file is an empty table."""
    columns: dict[str, list[float]] = {}
    if not path.exists():
        return columns
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                columns.setdefault(name, []).append(float(value) if value else float("nan"))
    return columns


class RunLog:
    """The tables of one run: episodes, intervals, validations, and perhaps iterations.

    Args:
        run_dir: where they lie.
        episode_columns, interval_columns: those of the environment and the algorithm, beside the common ones.
        iteration_columns: those of iterations.csv, for algorithms that have iterations.
        step: where the run stands.
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
