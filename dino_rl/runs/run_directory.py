"""The directory of a training run: its best model, its numbers and its videos."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.errors import RunError
from dino_rl.program import command_line
from dino_rl.runs.csv_log import read_table
from dino_rl.runs.input import read_json
from dino_rl.runs.output import PART

RUNS = Path("runs")  # where runs are unless the user names another directory
ABOUT, BEST_MODEL, VIDEOS, SNAPSHOTS = "run.json", "best.h5", "videos", "snapshots"
BEST_GAME, REPORT = "best_game.npz", "report.html"
BEST_OF_RLLIB = "best"  # a directory
HUB_MODEL = "model.h5"  # in a folder that export-hub wrote


@dataclass(frozen=True)
class RunDirectory:
    """One training run on disk. Everything that the run writes is in its directory.

    Raises:
        RunError: there is no run in `path`.
    """

    path: Path

    def __post_init__(self):
        try:
            _check(self.about)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path} is not a run directory: it has no readable {ABOUT}.") from error

    @cached_property
    def about(self) -> dict:
        """Configuration and versions: the contents of run.json."""
        return read_json(self.path / ABOUT)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def env(self) -> str:
        """Id of the environment."""
        return self.about["settings"]["env"]["id"]

    @property
    def algorithm(self) -> str:
        settings = self.about["settings"]
        return settings.get("algo") or settings.get("algorithm", "dqn")  # "algorithm" in runs of 0.1.0

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the environment's actions."""
        return tuple(self.about.get("actions", ()))

    @property
    def score_name(self) -> str:
        """What the environment calls a game's result: "score", or "return" where it reports no score."""
        if "score" in self.about:
            return self.about["score"]
        # Runs of 0.1.0 do not say. Without a score in `info`, the return is logged in both columns.
        episodes = self.table("episodes")
        return "return" if np.array_equal(episodes.get("score", []), episodes.get("return", [])) else "score"

    @property
    def target(self) -> float | None:
        """The mean return at which the environment counts as solved, if there is one."""
        settings = self.about["settings"]
        return settings.get("run", settings).get("stop_return")  # runs of 0.1.0 have no section "run"

    @property
    def started(self) -> float:
        """When the run was started or last resumed: seconds since 1970."""
        return (self.path / ABOUT).stat().st_mtime

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return int(largest(self.table("intervals").get("step", np.zeros(0)), 0.0))

    @property
    def minutes(self) -> float:
        """Training time so far."""
        tables = [self.table(name).get("minutes", np.zeros(0)) for name in ("intervals", "validations")]
        return largest(np.concatenate(tables), 0.0)

    @property
    def best_validation(self) -> float:
        """The best mean over validation games; NaN before the first validation."""
        return largest(self.table("validations").get("mean", np.zeros(0)), np.nan)

    @property
    def has_curves(self) -> bool:
        """Whether an episode has ended and an interval has been reported."""
        return bool(self.table("episodes") and self.table("intervals"))

    @property
    def best_model(self) -> Path:
        """The model with the best validation.

        Raises:
            RunError: none has been saved yet.
        """
        for name in (BEST_MODEL, BEST_OF_RLLIB):
            if (self.path / name).exists():
                return self.path / name
        raise RunError(f"{self.path} has no {BEST_MODEL} yet: train it longer.")

    @property
    def videos(self) -> list[Path]:
        """Finished videos, the newest first."""
        paths = [path for path in (self.path / VIDEOS).glob("*.mp4") if not path.name.startswith(PART)]
        return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)

    def table(self, name: str) -> dict[str, np.ndarray]:
        """Columns of the table "episodes", "intervals", "validations" or "iterations"; {} without rows.

        Raises:
            RunError: the table is damaged.
        """
        path = self.path / f"{name}.csv"
        return _Columns(path, {name: np.array(values) for name, values in read_table(path).items()})


class _Columns(dict[str, np.ndarray]):
    """Columns by name; one that is missing is an error for the user."""

    def __init__(self, path: Path, columns: dict[str, np.ndarray]):
        super().__init__(columns)
        self._path = path

    def __missing__(self, name: str) -> np.ndarray:
        raise RunError(f"{self._path} is damaged: it has no column {name!r}.")


def _check(about: Any):
    """Raises KeyError, TypeError, AttributeError: this is not the contents of run.json."""
    settings = about["settings"]
    names = [settings["env"]["id"], settings.get("algo") or settings.get("algorithm", "dqn")]
    names += [about.get("score", ""), *about.get("actions", ())]
    target = settings.get("run", settings).get("stop_return")
    if not all(isinstance(name, str) for name in names) or not isinstance(target, int | float | None):
        raise TypeError("a name is no text, or the target no number")


def largest(values: np.ndarray, default: float) -> float:
    """The largest finite value."""
    return float(max(values[np.isfinite(values)], default=default))


def find_runs(directory: Path = RUNS) -> list[RunDirectory]:
    """All runs in a directory, the newest first."""
    runs = []
    for path in directory.glob(f"*/{ABOUT}"):
        with suppress(RunError):  # a damaged one must not hide the others
            runs.append(RunDirectory(path.parent))
    return sorted(runs, key=lambda run: run.started, reverse=True)


def newest_run(directory: Path = RUNS) -> RunDirectory:
    """The run that was started last: `newest_run().best_model`, `newest_run().videos[0]`.

    Raises:
        RunError: there is none.
    """
    runs = find_runs(directory)
    if not runs:
        raise RunError(f"No runs in {directory}: start one with {command_line('train')}.")
    return runs[0]


def model_of(path: Path) -> Path:
    """The model that a user names: an .h5 file, a run's directory for its best model, or a folder that
    export-hub wrote.

    Raises:
        RunError: a directory that is none of these, or a run that has no model yet.
    """
    if not path.is_dir():
        return path
    if (path / HUB_MODEL).exists() and not (path / ABOUT).exists():
        return path / HUB_MODEL
    return RunDirectory(path).best_model


def videos_dir(model: Path) -> Path:
    """The directory for videos of a model: in its run, or videos/NAME for a model outside of a run."""
    if (model.parent / ABOUT).exists():
        return model.parent / VIDEOS
    return Path(VIDEOS) / model.stem
