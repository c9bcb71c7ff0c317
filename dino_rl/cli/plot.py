"""`plot`: draw a run's curves."""

import argparse
from pathlib import Path

HELP = "draw a run's curves"
DESCRIPTION = "Draw a run's curves as PNG files, for light and for dark pages."


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.runs.plots import plot_run
    from dino_rl.terminal import console

    for path in plot_run(options.run_dir):
        console.print(f"Plot: {path}")
    return 0
