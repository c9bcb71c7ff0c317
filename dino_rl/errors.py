"""What a user can get wrong, and the exit codes that tell it.

Each message is one line: what is wrong, and what to do.
"""

EXIT_DONE, EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class DinoError(Exception):
    """The input or the set-up is wrong; the command line prints the message and exits with 2."""


class BrowserError(DinoError):
    """No browser, no driver, two that do not fit, or one that stopped answering."""


class PageError(DinoError):
    """The browser's game page lacks something that the bridge needs."""


class ModelError(DinoError):
    """A model file that is missing, damaged, unsafe, or made for something else."""


class RunError(DinoError):
    """A run directory that cannot be written, or is not one."""
