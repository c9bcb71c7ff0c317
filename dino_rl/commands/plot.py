"""`plot`: draw a run's curves."""

import argparse

from dino_rl.results.plots import plot_run
from dino_rl.terminal import console


def plot(options: argparse.Namespace) -> int:
    """Run the command."""
    for path in plot_run(options.run_dir):
        console.print(f"Drawn: {path}")
    return 0
