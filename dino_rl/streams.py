"""The standard streams, whatever a shell made of them: closed, a pipe without a reader, another encoding."""

import os
import sys
from contextlib import suppress

STANDARD = (0, 1, 2)  # descriptors of input, output and errors


def open_standard_streams() -> None:
    """Make the standard streams usable.

    A closed one leads nowhere from now on. If it stayed closed, the next file that is opened would get its
    descriptor, and with it what libraries write to standard output. Characters that the encoding of a stream
    does not have are replaced.
    """
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest descriptor that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def drop_output() -> None:
    """Send what is still to be written to standard output nowhere: it cannot be received."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
