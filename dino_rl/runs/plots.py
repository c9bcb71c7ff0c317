"""The learning curves of a run, and a comparison of several runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from dino_rl.errors import RunError
from dino_rl.runs.figure import save_on_both
from dino_rl.runs.run_directory import RunDirectory

Panel = Callable[[Axes, RunDirectory], None]
RAW: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.3}
SMOOTH: dict[str, Any] = {"linewidth": 2.2, "solid_capstyle": "round"}
LOG_FROM = 30  # a curve that grows by more than this factor gets a logarithmic axis


def group_means(values: np.ndarray, size: int = 10) -> np.ndarray:
    """Means of consecutive groups of `size`; the last group can be smaller."""
    return np.array([values[i : i + size].mean() for i in range(0, len(values), size)])


def smooth(values: np.ndarray, window: int = 9) -> np.ndarray:
    """Running mean over `window` values, shorter at both ends; NaN is ignored."""
    half = window // 2
    parts = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in parts])


def plot_run(run_dir: Path) -> list[Path]:
    """Draw the curves of the run in `run_dir`: curves-light.png and curves-dark.png.

    Raises:
        RunError: there is no run, no episode has ended in it yet, or the files cannot be written.
    """
    run = RunDirectory(run_dir)
    _check_has_curves(run)
    return save_on_both(lambda: draw_run(run), run_dir, "curves")


def plot_comparison(runs: Sequence[RunDirectory], directory: Path) -> list[Path]:
    """Draw several runs in one figure: compare-NAMES-light.png and compare-NAMES-dark.png in `directory`.

    Raises:
        RunError: a run has no curves yet, or the files cannot be written.
    """
    for run in runs:
        _check_has_curves(run)
    return save_on_both(
        lambda: draw_comparison(runs), directory, "-".join(["compare", *[r.name for r in runs]])
    )


def _check_has_curves(run: RunDirectory):
    if not run.has_curves:
        raise RunError(f"{run.path} has no episodes to draw yet: train it longer.")


# --- One run ---------------------------------------------------------------------------------------------


def draw_run(run: RunDirectory, panels: int | None = None) -> Figure:
    """The curves that the environment and the algorithm of a run have.

    Args:
        run: the run.
        panels: how many panels to draw; None: all.
    """
    drawn = panels_of(run)[:panels]
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(5 * columns, 4.1 * rows), squeeze=False)
    length = f"{run.steps:,} steps in {run.minutes:.3g} minutes"
    figure.suptitle(f"{run.env} · {run.algorithm.upper()} · {run.name} · {length}", fontsize=13)
    for axis, draw in zip(grid.flat, drawn, strict=False):
        draw_panel(axis, draw, run)
    for axis in grid.flat[len(drawn) :]:
        axis.set_axis_off()
    return figure


def draw_panel(axis: Axes, draw: Panel, run: RunDirectory):
    """One of the `panels_of` a run, over its time."""
    axis.set(xlim=(0, 1.02 * run.minutes or None), xlabel="time (minutes)")
    axis.xaxis.set_major_formatter(_PLAIN)
    draw(axis, run)


def panels_of(run: RunDirectory) -> list[Panel]:
    """What draws the curves that a run has."""
    intervals = run.table("intervals")
    panels = [_training_scores]
    if run.table("iterations"):
        panels.append(_iterations)
    if run.table("validations") or run.table("episodes")["greedy"].any():
        panels.append(_greedy_games)
    if "loss" in intervals:
        panels.append(_loss)
    if "q_mean" in intervals:
        panels.append(_q_values)
    if run.actions:
        panels.append(_action_shares)
    return [*panels, _speed]


def _training_scores(axis: Axes, run: RunDirectory):
    episodes = run.table("episodes")
    means = group_means(episodes["score"])
    _curve(axis, group_means(episodes["minutes"]), means, "C0", "mean of 10 games, smoothed")
    best = np.maximum.accumulate(episodes["score"])
    axis.plot(episodes["minutes"], best, color="C1", label="best so far", linewidth=1.4)
    if run.target is not None:
        axis.axhline(run.target, color="C2", linestyle="--", linewidth=1.2, label=f"target {run.target:,g}")
    axis.set(title="Training", ylabel=run.score_name)
    _scale(axis, means)
    axis.legend()


def _iterations(axis: Axes, run: RunDirectory):
    iterations = run.table("iterations")
    for i, (name, label) in enumerate({"mean": "mean", "threshold": "elite threshold"}.items()):
        axis.plot(iterations["iteration"], iterations[name], "o-", color=f"C{i}", markersize=3, label=label)
    axis.set(title="Iterations", xlabel="iteration", ylabel="return of a session")
    axis.autoscale(axis="x")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _scale(axis, iterations["mean"])
    axis.legend()


def _greedy_games(axis: Axes, run: RunDirectory):
    episodes, validations = run.table("episodes"), run.table("validations")
    greedy = episodes["greedy"] == 1
    minutes, scores = episodes["minutes"][greedy], episodes["score"][greedy]
    if len(scores):
        axis.plot(minutes, scores, ".", color="C2", alpha=0.45, label="greedy game in training")
    if validations:
        for name, marker, colour in (("mean", "o", "C0"), ("median", "s", "C3")):
            axis.plot(
                validations["minutes"],
                validations[name],
                marker + "-",
                color=colour,
                markersize=5,
                linewidth=1.6,
                label=f"validation, {name} of {validations['games'][-1]:.0f} games",
            )
    axis.set(title="Greedy games", ylabel=run.score_name)
    _scale(axis, np.concatenate([scores, validations.get("mean", [])]))
    axis.legend()


def _loss(axis: Axes, run: RunDirectory):
    _interval_curves(axis, run, {"loss": "loss"})
    axis.set(title="Loss", ylabel="mean over an interval's batches")


def _q_values(axis: Axes, run: RunDirectory):
    _interval_curves(axis, run, {"q_mean": "Q"})
    axis.set(title="Q-values", ylabel="mean over an interval's batches")


def _speed(axis: Axes, run: RunDirectory):
    curves = {"steps_per_s": "environment steps", "updates_per_s": "updates"}
    if run.table("iterations"):  # updates come in bursts between the sessions
        del curves["updates_per_s"]
    _interval_curves(axis, run, curves)
    axis.set(title="Speed of the run", ylabel="per second")
    axis.legend(ncols=2)


def _interval_curves(axis: Axes, run: RunDirectory, columns: dict[str, str]):
    intervals = run.table("intervals")
    for i, (column, label) in enumerate(columns.items()):
        _curve(axis, intervals["minutes"], intervals[column], f"C{i}", label)
    _scale(axis, np.concatenate([intervals[column] for column in columns]))


def _action_shares(axis: Axes, run: RunDirectory):
    episodes = run.table("episodes")
    counts = np.stack([episodes[name] for name in run.actions])
    shares = counts / np.maximum(1, counts.sum(axis=0))
    smoothed = np.stack([smooth(group_means(row)) for row in shares])
    axis.stackplot(group_means(episodes["minutes"]), 100 * smoothed, labels=run.actions, alpha=0.85)
    axis.set(title="Actions", ylabel="share of the steps (%)", ylim=(0, 100))
    axis.legend(loc="lower right")


# --- Several runs ----------------------------------------------------------------------------------------


def draw_comparison(runs: Sequence[RunDirectory]) -> Figure:
    """Training and validation scores of each run, over steps and over time."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.2), sharey=True)
    figure.suptitle(" · ".join(dict.fromkeys(run.env for run in runs)), fontsize=13)
    for axis, column in zip(axes, ("step", "minutes"), strict=True):
        draw_runs(axis, runs, column)
    axes[1].set(ylabel=None)
    axes[0].get_legend().remove()
    return figure


def draw_runs(axis: Axes, runs: Sequence[RunDirectory], column: str):
    """Training and validation scores of each run, over the column "step" or "minutes"."""
    for i, run in enumerate(runs):
        episodes, validations = run.table("episodes"), run.table("validations")
        _curve(axis, group_means(episodes[column]), group_means(episodes["score"]), f"C{i}", run.name)
        if validations:
            axis.plot(validations[column], validations["mean"], "o--", color=f"C{i}", linewidth=1.0)
    title, label = ("By steps", "environment steps") if column == "step" else ("By time", "time (minutes)")
    axis.set(title=title, xlabel=label, xlim=(0, None), ylabel=runs[0].score_name)
    axis.xaxis.set_major_formatter(_PLAIN)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    _scale(axis, np.concatenate([group_means(run.table("episodes")["score"]) for run in runs]))
    axis.plot([], [], "o--", color="grey", linewidth=1.0, label="validation, mean")
    axis.legend(loc="lower right", title="mean of 10 games in training, smoothed")


# --- Axes ------------------------------------------------------------------------------------------------

_PLAIN = FuncFormatter(lambda value, _: f"{value:,.10g}")


def _curve(axis: Axes, x: np.ndarray, values: np.ndarray, colour: str, label: str):
    """The values, faint, and a smoothed curve of them; few values are smoothed less."""
    known = np.isfinite(values)
    x, values = x[known], values[known]
    axis.plot(x, values, color=colour, **RAW)
    axis.plot(x, smooth(values, min(9, len(values) // 4)), color=colour, label=label, **SMOOTH)


def _scale(axis: Axes, values: np.ndarray):
    """Plain numbers on the axis; a logarithmic scale for values that span decades."""
    known = values[np.isfinite(values)]
    if len(known) and known.min() > 0 and known.max() > LOG_FROM * known.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        if len(known) and known.min() >= 0:
            axis.set_ylim(0, max(1.08 * known.max(), axis.get_ylim()[1]) or None)
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 2.5, 5, 10)))
    axis.yaxis.set_major_formatter(_PLAIN)
