"""Speed and memory of games side by side, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dino_rl.runs.figure import save_on_both

if TYPE_CHECKING:  # browsers and TensorFlow come with it
    from dino_rl.benchmark.speed import Scaling


def plot_scaling(scaling: "Sequence[Scaling]", directory: Path) -> list[Path]:
    """Draw scaling-light.png and scaling-dark.png in `directory`.

    Raises:
        RunError: they cannot be written.
    """
    return save_on_both(lambda: draw_scaling(scaling), directory, "scaling")


def draw_scaling(scaling: "Sequence[Scaling]") -> Figure:
    """Steps per second and memory over the number of games, a curve for each number of browsers."""
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(11, 4.2))
    for browsers in sorted({row.browsers for row in scaling}):
        rows = [row for row in scaling if row.browsers == browsers]
        games = [row.games for row in rows]
        label = f"{browsers} browser{'s' * (browsers > 1)}"
        speed.plot(games, [row.steps_per_s for row in rows], "o-", label=label)
        memory.plot(games, [row.browser_mb for row in rows], "o-", label=label)
    speed.set(title="Environment steps of all games together", ylabel="four-frame steps per second")
    memory.set(title="Memory of the browsers", ylabel="MB")
    for axis in (speed, memory):
        axis.set(xlabel="games side by side", xscale="log", ylim=(0, None))
        axis.set_xticks(sorted({row.games for row in scaling}))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.legend()
    return figure
