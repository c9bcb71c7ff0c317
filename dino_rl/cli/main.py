"""Entry point of the command line: chooses the command, and turns what happens into an exit code."""

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from dino_rl.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER, DinoError

COMMANDS = ("train", "play", "evaluate", "record", "replay", "runs", "plot", "presets", "tune", "benchmark")


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, without argparse's usage text."""

    def error(self, message: str) -> NoReturn:
        raise DinoError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(
        prog="run_dino.py",
        description="An agent that learns the real Chrome Dino game from pixels, and other environments.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in COMMANDS:
        module = importlib.import_module(f"dino_rl.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # a terminal that is closed must not leave a browser behind
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        try:
            options = build_parser().parse_args(arguments)
            code = options.run(options) or EXIT_DONE
        except SystemExit as end:  # argparse, after --help
            code = int(end.code or EXIT_DONE)
        sys.stdout.flush()
        return code
    except DinoError as error:
        print(f"dino-rl: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the last flush quiet
        return EXIT_DONE
    except Exception:  # noqa: BLE001 - whatever is left is a bug, and keeps its traceback
        traceback.print_exc()
        return EXIT_BUG
