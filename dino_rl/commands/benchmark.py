"""`benchmark`: how fast it is on this machine."""

import argparse
import json
import os
from dataclasses import asdict

from rich.table import Table

from dino_rl.benchmark import Figure, Scaling, measure
from dino_rl.browser.chrome import find_browser, version_of
from dino_rl.results.model import versions
from dino_rl.results.output import check_writable, write_text
from dino_rl.results.plots import plot_scaling
from dino_rl.terminal import console, number


def benchmark(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.json:
        check_writable(options.json)
    if options.plot:
        check_writable(options.plot / "scaling-light.png")
    figures: list[Figure] = []
    scaling: list[Scaling] = []
    for result in measure(options.seconds, options.decisions):
        if isinstance(result, Scaling):
            scaling.append(result)
            where = "a page" if result.browsers == 1 else f"{result.browsers} browsers"
            console.print(f"{result.games} games in {where}: {number(result.steps_per_s)} steps/s")
        else:
            figures.append(result)
            console.print(f"{result.name}: {number(result.value)} {result.unit}")
    console.print(_scaling_table(scaling))
    console.print(_figure_table(figures))
    if options.plot:
        for path in plot_scaling(scaling, options.plot):
            console.print(f"Drawn: {path}")
    if options.json:
        written = {
            "figures": [asdict(figure) for figure in figures],
            "scaling": [asdict(row) for row in scaling],
            "cores": os.cpu_count(),
            "versions": versions({"browser": version_of(find_browser())}),
        }
        write_text(options.json, json.dumps(written, indent=2) + "\n")
    return 0


def _scaling_table(scaling: list[Scaling]) -> Table:
    table = Table(
        "games", "browsers", "steps/s", "ms a step of all", "MB of the browsers", title="games side by side"
    )
    for row in scaling:
        cells = (row.games, row.browsers, row.steps_per_s, row.step_ms, row.browser_mb)
        table.add_row(*(number(cell) for cell in cells))
    return table


def _figure_table(figures: list[Figure]) -> Table:
    table = Table("what", "figure", "", title=f"{os.cpu_count()} cores")
    for figure in figures:
        table.add_row(figure.name, number(figure.value), figure.unit)
    return table
