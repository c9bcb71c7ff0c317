"""How much a command says: the options --quiet and --verbose."""

import logging
from dataclasses import dataclass

FORMAT = "%(relativeCreated)7d ms  %(name)s: %(message)s"


@dataclass
class Verbosity:
    """What is asked for. There is one, `verbosity`."""

    quiet: bool = False
    """Only errors and results."""
    verbose: bool = False
    """Debug messages, and the traceback of every error."""


verbosity = Verbosity()


def set_verbosity(quiet: bool = False, verbose: bool = False) -> None:
    """Choose how much is said from now on. Debug messages of this package go to stderr."""
    verbosity.quiet, verbosity.verbose = quiet, verbose
    log = logging.getLogger("dino_rl")
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT))
        log.addHandler(handler)
    log.propagate = not verbose
