"""`runs`: what has been trained here."""

import argparse
from pathlib import Path

from dino_rl.errors import RunError
from dino_rl.results.plots import plot_comparison
from dino_rl.results.runs import Run, find_runs
from dino_rl.terminal import console, run_table


def runs(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.compare:
        chosen = [_find(name, options.directory) for name in options.compare]
        for path in plot_comparison(chosen, options.directory):
            console.print(f"Drawn: {path}")
        _show(chosen)
        return 0
    found = find_runs(options.directory)
    if not found:
        raise RunError(f"No runs in {options.directory}: python run_dino.py train makes one.")
    _show(found)
    console.print(f"Watch the newest: python run_dino.py play --model {found[0].path}")
    return 0


def _show(chosen: list[Run]):
    # A pipe has no width of its own to be cut to.
    console.print(run_table(chosen), width=None if console.is_terminal else 200)
    console.print("best: the highest mean over validation games", style="dim")


def _find(name: str, directory: Path) -> Run:
    """A run by its name in the directory, or by its path."""
    inside = directory / name
    return Run(inside if inside.exists() else Path(name))
