"""`runs`: list what has been trained, or compare runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.errors import RunError
from dino_rl.program import command_line

if TYPE_CHECKING:
    from dino_rl.runs import RunDirectory

HELP = "list what has been trained, or compare runs"
DESCRIPTION = "List the runs in a directory, the newest first, or draw the curves of several runs together."


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="DIR",
        help="directory of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--compare", nargs="+", metavar="RUN", help="draw these, by name or directory, as PNG files in DIR"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.runs import find_runs
    from dino_rl.runs.plots import plot_comparison
    from dino_rl.terminal import console

    if options.compare:
        chosen = [_find(name, options.directory) for name in options.compare]
        for path in plot_comparison(chosen, options.directory):
            console.print(f"Plot: {path}")
        _print(chosen)
        return 0
    found = find_runs(options.directory)
    if not found:
        raise RunError(f"No runs in {options.directory}: start one with {command_line('train')}.")
    _print(found)
    console.print(f"Watch the newest: {command_line('play', '--model', found[0].path)}")
    return 0


def _print(chosen: "list[RunDirectory]"):
    from dino_rl.terminal import console, run_table

    # A pipe has no width of its own to be cut to.
    console.print(run_table(chosen), width=None if console.is_terminal else 200)
    console.print("best: the highest mean over validation games", style="dim")


def _find(name: str, directory: Path) -> "RunDirectory":
    """A run by its name in the directory, or by its path."""
    from dino_rl.runs import RunDirectory

    inside = directory / name
    return RunDirectory(inside if inside.exists() else Path(name))
