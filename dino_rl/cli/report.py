"""`report`: a page about a run, or a comparison of several."""

import argparse
from pathlib import Path

HELP = "write a page about a run, or a comparison of several"
DESCRIPTION = """
Write what is known of a run as one HTML file, to keep or to send: learning curve, validations, causes of
death, an example game, what the network looks at, settings, versions and the command. Several runs are
compared. The file needs no network. `train` writes the same at its end.
"""


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="write this file (default: report.html in the run's directory; of several runs, "
        "compare-NAMES.html beside the first)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.report import write_report
    from dino_rl.terminal import Progress, console

    with Progress("writing the report"):
        path = write_report(options.run_dirs, options.out)
    console.print(f"Report: {path}")
    return 0
