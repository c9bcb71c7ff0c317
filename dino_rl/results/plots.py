"""A run's curves."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np

from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import DinoError, RunError
from dino_rl.results.runlog import read_table

if TYPE_CHECKING:  # TensorFlow comes with it
    from dino_rl.benchmark import Scaling

BACKGROUNDS = {"light": "default", "dark": "dark_background"}
RAW = {"linewidth": 0.8, "alpha": 0.35}
SMOOTH = {"linewidth": 2.0}


def group_means(values: np.ndarray, size: int = 10) -> np.ndarray:
    """Means of consecutive groups of `size`; what is left over at the end is a group of its own."""
    return np.array([values[i : i + size].mean() for i in range(0, len(values), size)])


def smooth(values: np.ndarray, window: int = 9) -> np.ndarray:
    """Running mean over `window` values, shorter at both ends; gaps (NaN) are left out."""
    half = window // 2
    parts = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in parts])


def plot_run(run_dir: Path) -> list[Path]:
    """Draw the curves of the run in `run_dir`: curves-light.png and curves-dark.png.

    Raises:
        RunError: there is no run, or no episode has ended in it yet.
    """
    episodes = _columns(run_dir / "episodes.csv")
    intervals = _columns(run_dir / "intervals.csv")
    validations = _columns(run_dir / "validations.csv")
    if not episodes or not intervals:
        raise RunError(f"{run_dir} holds no episodes to draw: name a run directory, or train a while longer.")
    paths = []
    for name, style in BACKGROUNDS.items():
        with plt.style.context(style):
            figure = _draw(run_dir.name, episodes, intervals, validations, _actions(run_dir))
            path = run_dir / f"curves-{name}.png"
            try:
                figure.savefig(path, dpi=110)
            except OSError as error:
                raise RunError(f"Cannot write {path} ({error.strerror}).") from error
            finally:
                plt.close(figure)
        paths.append(path)
    return paths


def plot_scaling(scaling: "list[Scaling]", path: Path):
    """Draw what games side by side bring (steps a second) and cost (memory), from `benchmark`.

    Raises:
        DinoError: the file cannot be written.
    """
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for browsers in sorted({row.browsers for row in scaling}):
        rows = [row for row in scaling if row.browsers == browsers]
        games = [row.games for row in rows]
        label = f"{browsers} browser{'s' * (browsers > 1)}"
        speed.plot(games, [row.steps_per_s for row in rows], "o-", label=label)
        memory.plot(games, [row.browser_mb for row in rows], "o-", label=label)
    speed.set(title="Four-frame steps with their picture, all games together", ylabel="steps a second")
    memory.set(title="Memory of the browsers", ylabel="MB")
    for axis in (speed, memory):
        axis.set(xlabel="games side by side", xscale="log", ylim=(0, None))
        axis.set_xticks([row.games for row in scaling if row.browsers == 1], minor=False)
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.grid(alpha=0.25)
        axis.legend()
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:  # ValueError: no picture format of that name
        raise DinoError(f"Cannot draw {path} ({error}).") from error
    finally:
        plt.close(figure)


def scale(scores: np.ndarray) -> str:
    """A logarithmic axis shows how scores grow, if none is below one."""
    return "log" if scores.min() >= 1 else "linear"


def _actions(run_dir: Path) -> list[str]:
    """Names of the environment's actions: columns of episodes.csv."""
    try:
        return json.loads((run_dir / "run.json").read_text()).get("actions", ACTIONS)
    except (OSError, ValueError) as error:
        raise RunError(f"{run_dir} has no run.json that can be read: name a run directory.") from error


def _columns(path: Path) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in read_table(path).items()}


def _draw(title: str, episodes: dict, intervals: dict, validations: dict, actions: list[str]) -> plt.Figure:
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    figure.suptitle(f"Training run {title}")

    def curve(axis, name: str, column: str, colour: str, label: str | None = None):
        if column not in intervals:  # of another algorithm
            return
        minutes, values = intervals["minutes"], intervals[column]
        axis.plot(minutes, values, color=colour, **RAW)
        axis.plot(minutes, smooth(values), color=colour, label=label, **SMOOTH)
        axis.set(title=name, xlabel="minutes")

    scores, best = axes[0, 0], np.maximum.accumulate(episodes["score"])
    means = group_means(episodes["score"])
    scores.plot(group_means(episodes["minutes"]), means, color="C0", **RAW)
    scores.plot(
        group_means(episodes["minutes"]), smooth(means), color="C0", label="mean of 10 games", **SMOOTH
    )
    scores.plot(episodes["minutes"], best, color="C1", label="best so far", **SMOOTH)
    scores.set(title="Score in training", xlabel="minutes", ylabel="score", yscale=scale(episodes["score"]))
    scores.legend()

    held_out = axes[0, 1]
    greedy = episodes["greedy"] == 1
    held_out.plot(
        episodes["minutes"][greedy],
        episodes["score"][greedy],
        ".",
        color="C2",
        alpha=0.4,
        label="a greedy game",
    )
    if validations:
        held_out.plot(validations["minutes"], validations["mean"], "o-", color="C3", label="validation, mean")
        held_out.plot(
            validations["minutes"], validations["median"], "s--", color="C4", label="validation, median"
        )
    held_out.set(title="Greedy games", xlabel="minutes", ylabel="score", yscale=scale(episodes["score"]))
    held_out.legend()

    curve(axes[0, 2], "Loss", "loss", "C0")
    axes[0, 2].set(ylabel="loss", yscale="log")
    curve(axes[1, 0], "Q-values", "q_mean", "C0")
    axes[1, 0].set(ylabel="mean Q of a batch")

    counts = np.stack([episodes[name] for name in actions])
    shares = counts / np.maximum(1, counts.sum(axis=0))
    grouped = np.stack([smooth(group_means(row)) for row in shares])
    axes[1, 1].stackplot(group_means(episodes["minutes"]), grouped, labels=actions, alpha=0.8)
    axes[1, 1].set(title="Actions", xlabel="minutes", ylabel="share", ylim=(0, 1))
    axes[1, 1].legend(loc="lower left")

    curve(axes[1, 2], "Speed of the run", "steps_per_s", "C0", "environment steps")
    curve(axes[1, 2], "Speed of the run", "updates_per_s", "C1", "updates")
    axes[1, 2].set(ylabel="a second", yscale="log")
    axes[1, 2].legend()
    for axis in axes.flat:
        axis.grid(alpha=0.25)
    return figure
