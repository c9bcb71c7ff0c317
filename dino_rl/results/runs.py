"""Finding things: the runs of a directory, and of each its best model, its numbers and its films."""

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dino_rl.errors import RunError
from dino_rl.results.runlog import read_table
from dino_rl.settings import DINO_ID

RUNS = Path("runs")  # where runs lie unless the user says otherwise
ABOUT, BEST_MODEL, VIDEOS = "run.json", "best.h5", "videos"
BEST_OF_RLLIB = "best"  # a directory


@dataclass(frozen=True)
class Run:
    """One training run on disk. Everything that it leaves lies in its directory.

    Raises:
        RunError: there is no run in `path`.
    """

    path: Path

    def __post_init__(self):
        try:
            self.about["settings"]["env"]["id"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.path} is not a run directory: it has no {ABOUT} to be read.") from error

    @cached_property
    def about(self) -> dict:
        """Settings and versions."""
        return json.loads((self.path / ABOUT).read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def env(self) -> str:
        """Id of its environment."""
        return self.about["settings"]["env"]["id"]

    @property
    def algorithm(self) -> str:
        return self.about["settings"].get("algorithm", "dqn")

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of its environment's actions."""
        return tuple(self.about.get("actions", ()))

    @property
    def measure(self) -> str:
        """What its games are measured by."""
        return "score" if self.env == DINO_ID else "return"

    @property
    def target(self) -> float | None:
        """The mean return at which it counts as solved, if there is one."""
        return self.about["settings"].get("stop_return")

    @property
    def started(self) -> float:
        """When it was started or last resumed: seconds since 1970."""
        return (self.path / ABOUT).stat().st_mtime

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return int(max(self.table("intervals").get("step", []), default=0))

    @property
    def minutes(self) -> float:
        """Training time so far."""
        tables = [self.table(name).get("minutes", [0.0]) for name in ("intervals", "validations")]
        return float(max(map(max, tables)))

    @property
    def best_validation(self) -> float:
        """The best mean over its validation games; NaN before the first."""
        return float(max(self.table("validations").get("mean", []), default=np.nan))

    @property
    def has_curves(self) -> bool:
        """Whether an episode has ended and a report been made."""
        return bool(self.table("episodes") and self.table("intervals"))

    @property
    def best_model(self) -> Path:
        """Its model with the best validation.

        Raises:
            RunError: none has been kept yet.
        """
        for name in (BEST_MODEL, BEST_OF_RLLIB):
            if (self.path / name).exists():
                return self.path / name
        raise RunError(f"{self.path} holds no {BEST_MODEL} yet: train it a while longer.")

    @property
    def videos(self) -> list[Path]:
        """Its films, the newest first."""
        return sorted((self.path / VIDEOS).glob("*.mp4"), key=lambda path: path.stat().st_mtime, reverse=True)

    def table(self, name: str) -> dict[str, np.ndarray]:
        """Columns of its table "episodes", "intervals", "validations" or "iterations"; {} without rows."""
        return {name: np.array(values) for name, values in read_table(self.path / f"{name}.csv").items()}


def find_runs(directory: Path = RUNS) -> list[Run]:
    """All runs in a directory, the newest first."""
    runs = []
    for path in directory.glob(f"*/{ABOUT}"):
        with suppress(RunError):  # one that is damaged must not hide the others
            runs.append(Run(path.parent))
    return sorted(runs, key=lambda run: run.started, reverse=True)


def newest_run(directory: Path = RUNS) -> Run:
    """The run that was started last: `newest_run().best_model`, `newest_run().videos[0]`.

    Raises:
        RunError: there is none.
    """
    runs = find_runs(directory)
    if not runs:
        raise RunError(f"No runs in {directory}: python run_dino.py train makes one.")
    return runs[0]


def model_of(path: Path) -> Path:
    """The model that a user names: an .h5 file, or a run's best one by the run's directory."""
    return Run(path).best_model if path.is_dir() else path


def videos_of(model: Path) -> Path:
    """Where films of a model belong: into its run's directory; of one that lies alone, to videos/NAME."""
    if (model.parent / ABOUT).exists():
        return model.parent / VIDEOS
    return Path(VIDEOS) / model.stem
