"""The trials of a search, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dino_rl.runs.figure import save_on_both
from dino_rl.runs.search_results import Outcome


def plot_search(directory: Path, outcomes: Sequence[Outcome], metric: str, title: str) -> list[Path]:
    """Draw the effect of the learning rate: search-light.png and search-dark.png in `directory`.

    Args:
        directory: where the files are written.
        outcomes: at least one.
        metric: "steps" or "seconds".
        title: of the figure.

    Raises:
        RunError: they cannot be written.
    """
    return save_on_both(lambda: draw_search(outcomes, metric, title), directory, "search")


def draw_search(outcomes: Sequence[Outcome], metric: str, title: str) -> Figure:
    """Steps or seconds to the target over the learning rate, one colour for each network. Trials that did not
    reach the target are hollow circles above the others."""
    figure, axes = plt.subplots(figsize=(8, 5))
    reached = [getattr(each, metric) for each in outcomes if each.reached]
    ceiling = 1.15 * max(reached, default=1.0)  # the height of trials that did not reach the target
    for i, network in enumerate(sorted({(each.width, each.activation) for each in outcomes})):
        style: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": f"C{i % 10}"}
        own = [each for each in outcomes if (each.width, each.activation) == network]
        good = [each for each in own if each.reached]
        bad = [each for each in own if not each.reached]
        width, activation = network
        axes.plot(
            [each.learning_rate for each in good],
            [getattr(each, metric) for each in good],
            label=f"{width} units, {activation}",
            **style,
        )
        axes.plot([each.learning_rate for each in bad], [ceiling] * len(bad), fillstyle="none", **style)
    if len(reached) < len(outcomes):
        axes.axhline(ceiling, linewidth=0.8, linestyle=":", color="grey")
        axes.annotate(
            "target not reached",
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
    axes.legend()
    return figure
