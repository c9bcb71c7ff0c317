"""`--print-completion SHELL`: a script that completes commands, options and their values."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from dino_rl.errors import DinoError
from dino_rl.program import INSTALLED, how_to_install

SHELLS = ("bash", "zsh", "tcsh")


class PrintCompletion(argparse.Action):
    """Prints the script for a shell and ends. It completes `dino-rl`: shells know no `python run_dino.py`."""

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            import shtab
        except ImportError as error:
            raise DinoError(f"--print-completion needs shtab: {how_to_install('shtab')}.") from error
        from dino_rl.cli.main import build_parser

        complete = build_parser(INSTALLED)
        for action in _actions(complete):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(complete, shell=str(values)))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
