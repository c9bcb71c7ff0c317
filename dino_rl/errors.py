"""Errors that a user can cause, and the exit codes of the command line.

Each message is one line: what is wrong, and what to do.
"""

EXIT_DONE, EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class DinoError(Exception):
    """The input or the set-up is wrong. The command line prints the message and exits with code 2."""


class ConfigError(DinoError):
    """A configuration names an unknown field, or gives one a value that it cannot have."""


class EnvError(DinoError):
    """An environment stopped working. A new one may work."""


class BrowserError(EnvError):
    """No browser, no driver, versions that do not match, or a browser that stopped answering."""


class PageError(DinoError):
    """The browser's game page lacks something that the bridge needs."""


class ModelError(DinoError):
    """A model file that is missing, damaged, unsafe, or made for something else."""


class RunError(DinoError):
    """A run directory that cannot be written, or is not one."""
