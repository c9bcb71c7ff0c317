"""Errors that a user can cause, and the exit codes of the command line.

Each message is one line: what is wrong, and what to do.
"""

EXIT_DONE, EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143


def first_line(error: BaseException) -> str:
    """What an error says, in one line without a full stop; its type, if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


class DinoError(Exception):
    """The input or the set-up is wrong. The command line prints the message and exits with code 2.

    Args:
        message: names from outside may have line breaks, which are spaces in the message, and be so long that
            it loses its middle.
    """

    LONGEST = 1_500  # characters

    def __init__(self, message: str = ""):
        text = " ".join(str(message).splitlines())
        if len(text) > self.LONGEST:
            text = f"{text[: self.LONGEST // 2]} ... {text[5 - self.LONGEST // 2 :]}"
        super().__init__(text)


class ConfigError(DinoError):
    """A configuration names an unknown field, or gives one a value that it cannot have."""


class EnvError(DinoError):
    """An environment stopped working. A new one may work, if `retry` is set."""

    retry = True


class BrowserError(EnvError):
    """A browser that does not start, or that stopped answering."""


class NoBrowserError(BrowserError):
    """No browser, no driver, no display, or versions that do not match: a new attempt would fail, too."""

    retry = False


class WindowClosedError(BrowserError):
    """The user closed the window of the game."""

    retry = False


class NotFiniteError(DinoError):
    """A loss, a weight, a reward or an observation is NaN or infinite."""


class PageError(DinoError):
    """The browser's game page lacks something that the bridge needs."""


class ModelError(DinoError):
    """A model file that is missing, damaged, unsafe, or made for something else."""


class RunError(DinoError):
    """A run directory that cannot be written, or is not one."""
