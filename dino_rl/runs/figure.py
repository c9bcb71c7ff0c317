"""Figures as PNG files, each on a light and on a dark background."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dino_rl.runs.output import make_directory, whole_file

DPI = 110
MAX_SVG_POINTS = 2000  # of a line; one with more is drawn as pixels


def _style(background: str, ink: str, faint: str, colours: Sequence[str]) -> dict:
    return {
        "figure.facecolor": background,
        "axes.facecolor": background,
        "savefig.facecolor": background,
        "text.color": ink,
        "text.parse_math": False,  # a run may have dollars in its name
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


def svg_on_both(draw: Callable[[], Figure]) -> tuple[str, str]:
    """A figure as SVG for a light and for a dark page, without a background. Text is text in the page's font.

    Args:
        draw: called once. It takes its colours from the cycle and the style, which differ between the two.
    """
    style = BACKGROUNDS["light"] | {
        "svg.fonttype": "none",
        "svg.hashsalt": "dino-rl",
        "legend.fontsize": 9,
        "legend.title_fontsize": 9,
    }
    file = io.StringIO()
    with plt.rc_context(style):
        figure = draw()
        try:
            for line in (line for axis in figure.axes for line in axis.lines):
                line.set_rasterized(np.size(line.get_xdata()) > MAX_SVG_POINTS)
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        finally:
            plt.close(figure)
    light = file.getvalue().replace("'DejaVu Sans'", "system-ui")
    dark = light
    for before, after in zip(*(_colours(each) for each in BACKGROUNDS.values()), strict=True):
        dark = dark.replace(before, after)
    return light, dark


def _colours(style: dict) -> list[str]:
    single = [style[name] for name in ("figure.facecolor", "text.color", "grid.color")]
    return single + style["axes.prop_cycle"].by_key()["color"]


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
