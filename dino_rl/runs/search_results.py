"""The files of a search for hyper-parameters: the outcome of each trial, and their ranking as CSV."""

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import AllowInfNan

from dino_rl.config import from_dict
from dino_rl.errors import ConfigError, RunError
from dino_rl.runs.input import read_json
from dino_rl.runs.output import reason, whole_file, write_json

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial."""

    width: int
    activation: str
    learning_rate: float
    reached: bool
    """Whether the trial reached the target."""
    steps: int
    """Until it did, or until it was stopped."""
    seconds: float
    """Until it did, or until it was stopped."""
    return_mean: Annotated[float, AllowInfNan(True)]
    """Of the last 100 episodes; NaN if none has ended."""

    @property
    def name(self) -> str:
        """Of the trial's directory."""
        return trial_name(self.width, self.activation, self.learning_rate)


def trial_name(width: int, activation: str, learning_rate: float) -> str:
    """width-64-relu-0.00123"""
    return f"width-{width}-{activation}-{learning_rate:.6g}"


def rank(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """The best first: by `metric` ("steps" or "seconds") where the target was reached, then the others by
    mean return, and last those in which no episode ended."""

    def key(each: Outcome) -> tuple[int, float]:
        if each.reached:
            return 0, getattr(each, metric)
        return (1, -each.return_mean) if math.isfinite(each.return_mean) else (2, 0.0)

    return sorted(outcomes, key=key)


def save_outcome(directory: Path, outcome: Outcome):
    """Write the outcome of a trial to the trial's directory below `directory`.

    Raises:
        RunError: it cannot be written.
    """
    write_json(directory / outcome.name / OUTCOME, asdict(outcome))


def load_outcomes(directory: Path) -> list[Outcome]:
    """All finished trials below a directory.

    Raises:
        RunError: a file is damaged.
    """
    outcomes = []
    for path in sorted(directory.glob(f"*/{OUTCOME}")):
        try:
            outcomes.append(from_dict(Outcome, read_json(path)))
        except (OSError, ValueError, ConfigError) as error:
            raise RunError(
                f"{path} is damaged ({reason(error)}): delete it, and the trial is run again."
            ) from error
    return outcomes


def write_ranking(path: Path, ranked: list[Outcome]):
    """Write a CSV file, the best trial first.

    Raises:
        RunError: it cannot be written.
    """
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("rank", *(field.name for field in fields(Outcome))))
        writer.writeheader()
        for place, outcome in enumerate(ranked, 1):
            writer.writerow({"rank": place, **asdict(outcome)})
