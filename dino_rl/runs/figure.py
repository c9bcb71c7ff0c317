"""Figures as PNG files, each on a light and on a dark background."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dino_rl.runs.output import make_directory, whole_file

DPI = 110


def _style(background: str, ink: str, faint: str, colours: Sequence[str]) -> dict:
    return {
        "figure.facecolor": background,
        "axes.facecolor": background,
        "savefig.facecolor": background,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.edgecolor": faint,
        "grid.color": faint,
        "axes.prop_cycle": plt.cycler(color=colours),
        "font.size": 10.5,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.5,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.framealpha": 0.85,
        "legend.edgecolor": background,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.h_pad": 0.12,
        "figure.constrained_layout.w_pad": 0.12,
    }


# Colours that remain distinguishable with colour vision deficiencies (after Okabe and Ito, "Color Universal
# Design").
BACKGROUNDS = {
    "light": _style(
        "#ffffff", "#24292f", "#d0d7de", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
    ),
    "dark": _style(
        "#0d1117", "#d8dee6", "#30363d", ("#58a6ff", "#ff9248", "#3fd19a", "#e39ac4", "#f0e442", "#9ad4ff")
    ),
}


def save_on_both(draw: Callable[[], Figure], directory: Path, stem: str) -> list[Path]:
    """Save a figure as STEM-light.png and STEM-dark.png, and create the directory.

    Args:
        draw: called once for each background.
        directory: where the files are written.
        stem: how their names begin.

    Raises:
        RunError: they cannot be written.
    """
    make_directory(directory)
    paths = []
    for name, style in BACKGROUNDS.items():
        path = directory / f"{stem}-{name}.png"
        with plt.rc_context(style), whole_file(path) as part:
            figure = draw()
            try:
                figure.savefig(part, dpi=DPI)
            finally:
                plt.close(figure)
        paths.append(path)
    return paths
