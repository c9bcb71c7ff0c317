"""`benchmark`: measure the speed on this machine."""

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.cli import options as shared

if TYPE_CHECKING:
    from rich.table import Table

    from dino_rl.benchmark.speed import Figure, Scaling

HELP = "measure the speed on this machine"
DESCRIPTION = (
    "Measure the game, the learner and live play on this machine, and the tutorial's calls beside them. "
    "Takes less than five minutes; let nothing else run."
)


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument(
        "--seconds",
        type=shared.number(float, 0.5, "a number of 0.5 or more"),
        default=5.0,
        metavar="S",
        help="time for each figure (default: %(default)s)",
    )
    parser.add_argument(
        "--decisions",
        type=shared.count,
        default=5_000,
        metavar="N",
        help="decisions of live play, 30 a second (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="DIR",
        help="draw speed and memory over the number of games, as PNG files",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.benchmark.scaling_plot import plot_scaling
    from dino_rl.benchmark.speed import Figure, Scaling, expected_duration_s, measure
    from dino_rl.browser.chrome import installed_browser
    from dino_rl.runs.model_file import versions
    from dino_rl.runs.output import check_writable, write_json
    from dino_rl.terminal import Progress, console, duration, note, number

    if options.json:
        check_writable(options.json)
    if options.plot:
        check_writable(options.plot / "scaling-light.png")
    figures: list[Figure] = []
    scaling: list[Scaling] = []
    expected_s, started = expected_duration_s(options.seconds, options.decisions), time.monotonic()
    note(f"This takes about {duration(expected_s)}, most of it for live play at its own speed.")
    with Progress("measuring", lines=False) as progress:
        progress.update(0.0, expected_s)
        for result in measure(options.seconds, options.decisions):
            if isinstance(result, Scaling):
                scaling.append(result)
                where = "one page" if result.browsers == 1 else f"{result.browsers} browsers"
                note(f"{result.games} games in {where}: {number(result.steps_per_s)} steps/s")
            else:
                figures.append(result)
                note(f"{result.name}: {number(result.value)} {result.unit}")
            spent_s = time.monotonic() - started
            progress.update(min(0.99, spent_s / expected_s), max(0.0, expected_s - spent_s))
    console.print(_scaling_table(scaling))
    console.print(_figure_table(figures))
    if options.plot:
        for path in plot_scaling(scaling, options.plot):
            console.print(f"Plot: {path}")
    if options.json:
        written = {
            "figures": [asdict(figure) for figure in figures],
            "scaling": [asdict(row) for row in scaling],
            "cores": os.cpu_count(),
            "versions": versions({"browser": installed_browser()}),
        }
        write_json(options.json, written)
    return 0


def _scaling_table(scaling: "list[Scaling]") -> "Table":
    from rich.table import Table

    from dino_rl.terminal import number

    table = Table(
        "games", "browsers", "steps/s", "ms per step", "MB of the browsers", title="games in parallel"
    )
    for row in scaling:
        cells = (row.games, row.browsers, row.steps_per_s, row.step_ms, row.browser_mb)
        table.add_row(*(number(cell) for cell in cells))
    return table


def _figure_table(figures: "list[Figure]") -> "Table":
    from rich.table import Table

    from dino_rl.terminal import number

    table = Table("measured", "figure", "unit", title=f"{os.cpu_count()} cores")
    for figure in figures:
        table.add_row(figure.name, number(figure.value), figure.unit)
    return table
