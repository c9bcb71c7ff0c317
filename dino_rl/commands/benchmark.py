"""`benchmark`: how fast it is on this machine."""

import argparse
import json
import os
from dataclasses import asdict

from rich.table import Table

from dino_rl.benchmark import measure
from dino_rl.browser.chrome import find_browser, version_of
from dino_rl.results.model import versions
from dino_rl.results.output import check_writable, write_text
from dino_rl.terminal import console, number


def benchmark(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.json:
        check_writable(options.json)
    table = Table("what", "figure", "", title=f"{os.cpu_count()} cores")
    figures = []
    for figure in measure(options.seconds):
        figures.append(figure)
        console.print(f"{figure.name}: {number(figure.value)} {figure.unit}")
        table.add_row(figure.name, number(figure.value), figure.unit)
    console.print(table)
    if options.json:
        result = {
            "figures": [asdict(figure) for figure in figures],
            "cores": os.cpu_count(),
            "versions": versions({"browser": version_of(find_browser())}),
        }
        write_text(options.json, json.dumps(result, indent=2) + "\n")
    return 0
