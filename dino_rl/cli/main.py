"""Entry point of the command line: chooses the command, and turns what happens into an exit code."""

import argparse
import errno
import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn

from dino_rl import __version__
from dino_rl.cli.completion import SHELLS, PrintCompletion
from dino_rl.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_USER, DinoError
from dino_rl.interrupt import Terminated, handled, interrupt
from dino_rl.program import how_to_install, program_name
from dino_rl.streams import drop_output, open_standard_streams
from dino_rl.verbosity import set_verbosity, verbosity

COMMANDS = (
    "train",
    "play",
    "evaluate",
    "record",
    "replay",
    "runs",
    "plot",
    "report",
    "presets",
    "tune",
    "benchmark",
    "doctor",
    "export",
    "serve",
    "race",
    "export-hub",
)

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, without argparse's usage text."""

    def error(self, message: str) -> NoReturn:
        raise DinoError(f"{message} (see {self.prog} --help)")


def build_parser(program: str | None = None, names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The commands and their options.

    Args:
        program: what help and errors call it; None: as it was started.
        names: of the commands.
    """
    # Before the command and after it.
    common = _Parser(add_help=False)
    level = common.add_mutually_exclusive_group()
    level.add_argument(
        *("-q", "--quiet"), action="store_true", default=argparse.SUPPRESS, help="only errors and results"
    )
    level.add_argument(
        *("-v", "--verbose"),
        action="store_true",
        default=argparse.SUPPRESS,
        help="debug messages, and the traceback of every error",
    )
    parser = _Parser(
        prog=program or program_name(),
        parents=[common],
        description="An agent that learns the real Chrome Dino game from pixels, and other environments.",
    )
    parser.add_argument("--version", action="version", version=f"dino-rl {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a script for this shell that completes commands and options, and end",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in names:
        module = importlib.import_module(f"dino_rl.cli.{name.replace('-', '_')}")
        command = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, parents=[common]
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    open_standard_streams()
    for number in handled("SIGTERM", "SIGHUP"):  # a terminal that is closed must not leave a browser behind
        signal.signal(number, interrupt)
    code = EXIT_DONE
    try:
        try:
            set_verbosity()
            words = list(sys.argv[1:] if arguments is None else arguments)
            # `doctor` must run where another command's options cannot be built, because a package is missing.
            named = words[:1] if words and words[0] in COMMANDS else COMMANDS
            options = build_parser(names=named).parse_args(words)
            set_verbosity(getattr(options, "quiet", False), getattr(options, "verbose", False))
            code = EXIT_INTERRUPTED  # until the command has ended
            code = options.run(options) or EXIT_DONE
        except SystemExit as end:  # argparse, after --help
            code = int(end.code or EXIT_DONE)
        sys.stdout.flush()
        return code
    except DinoError as error:
        if verbosity.verbose:
            traceback.print_exc()
        _complain(f"dino-rl: {error}")
        return EXIT_USER
    except KeyboardInterrupt as signalled:
        _complain("Interrupted.")
        return EXIT_TERMINATED if isinstance(signalled, Terminated) else EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone: `... | head`
        drop_output()  # keeps the last flush quiet
        return code
    except Exception as error:  # noqa: BLE001 - whatever is left is a bug, and keeps its traceback
        package = _missing_package(error)
        if package and not verbosity.verbose:
            _complain(f"dino-rl: {package} is not installed: {how_to_install(package)}.")
            return EXIT_USER
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE and not verbosity.verbose:
            drop_output()
            if error.errno == errno.EIO and error.filename is None:  # the terminal is gone
                return code
            _complain(f"dino-rl: Cannot write {error.filename or 'the output'} ({error.strerror}).")
            return EXIT_USER
        with suppress(OSError):
            traceback.print_exc()
        return EXIT_BUG


def _complain(line: str):
    with suppress(OSError):  # nobody reads it
        print(line, file=sys.stderr)


def _missing_package(error: Exception) -> str:
    """The package without which a module was not found, "" if it is something else that is wrong."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or name == "dino_rl" or name in sys.stdlib_module_names or find_spec(name):
        return ""
    return name
