"""What a search for hyper-parameters leaves: an outcome for each trial, their ranking as CSV, and a plot."""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dino_rl.errors import RunError
from dino_rl.results.output import write_text
from dino_rl.settings import from_dict

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """How a trial went.

    Attributes:
        width, activation, learning_rate: what was tried.
        reached: whether it came to the target.
        steps, seconds: until it did, or until it was ended.
        return_mean: of the last 100 episodes; NaN if none has ended.
    """

    width: int
    activation: str
    learning_rate: float
    reached: bool
    steps: int
    seconds: float
    return_mean: float

    @property
    def name(self) -> str:
        """Of the trial's directory."""
        return trial_name(self.width, self.activation, self.learning_rate)


def trial_name(width: int, activation: str, learning_rate: float) -> str:
    """width-64-relu-0.00123"""
    return f"width-{width}-{activation}-{learning_rate:.6g}"


def rank(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """Best first: by `metric` ("steps" or "seconds") where the target was reached; then the others, by how
    near they came, and last of all those whose first episode never ended."""

    def place(each: Outcome) -> tuple[int, float]:
        if each.reached:
            return 0, getattr(each, metric)
        return (1, -each.return_mean) if math.isfinite(each.return_mean) else (2, 0.0)

    return sorted(outcomes, key=place)


def save_outcome(directory: Path, outcome: Outcome):
    """Keep the outcome of a trial in its directory below `directory`."""
    write_text(directory / outcome.name / OUTCOME, json.dumps(asdict(outcome), indent=2) + "\n")


def load_outcomes(directory: Path) -> list[Outcome]:
    """All trials below a directory that have ended.

    Raises:
        RunError: a file is damaged.
    """
    outcomes = []
    for path in sorted(directory.glob(f"*/{OUTCOME}")):
        try:
            outcomes.append(from_dict(Outcome, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}): delete it, and the trial is made anew.") from error
    return outcomes


def write_ranking(path: Path, ranked: list[Outcome]):
    """A CSV file, best first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("rank", *(field.name for field in fields(Outcome))))
        writer.writeheader()
        for place, outcome in enumerate(ranked, 1):
            writer.writerow({"rank": place, **asdict(outcome)})


def plot_search(directory: Path, ranked: list[Outcome], metric: str, title: str) -> list[Path]:
    """Draw what the learning rate did, a colour for each network: search-light.png and search-dark.png.
    Trials that never came to the target are hollow, above the others."""
    import matplotlib.pyplot as plt  # heavy, and not needed by who only ranks

    from dino_rl.results.plots import BACKGROUNDS

    networks = sorted({(each.width, each.activation) for each in ranked})
    reached = [getattr(each, metric) for each in ranked if each.reached]
    ceiling = 1.15 * max(reached, default=1.0)  # where those stand that never came to the target
    paths = []
    for name, style in BACKGROUNDS.items():
        with plt.style.context(style):
            figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
            for i, (width, activation) in enumerate(networks):
                colour = f"C{i % 10}"
                mine = [each for each in ranked if (each.width, each.activation) == (width, activation)]
                good = [each for each in mine if each.reached]
                bad = [each for each in mine if not each.reached]
                axes.plot(
                    [each.learning_rate for each in good],
                    [getattr(each, metric) for each in good],
                    "o",
                    color=colour,
                    label=f"{width} units, {activation}",
                )
                axes.plot(
                    [each.learning_rate for each in bad],
                    [ceiling] * len(bad),
                    "o",
                    color=colour,
                    fillstyle="none",
                )
            if len(reached) < len(ranked):
                axes.axhline(ceiling, linewidth=0.8, linestyle=":", color="grey")
                axes.annotate(
                    "never reached",
                    (0.99, ceiling),
                    (0, 6),  # above the circles
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    ha="right",
                    fontsize="small",
                )
            unit = "environment steps" if metric == "steps" else "seconds"
            axes.set(title=title, xlabel="learning rate", ylabel=f"{unit} to the target", xscale="log")
            axes.set_ylim(0, 1.1 * ceiling)
            axes.grid(alpha=0.25)
            axes.legend()
            path = directory / f"search-{name}.png"
            figure.savefig(path, dpi=110)
            plt.close(figure)
        paths.append(path)
    return paths
