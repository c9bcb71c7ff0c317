"""Output files: checked before long work, written whole after it."""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from dino_rl.errors import RunError, first_line

PART = "part-"  # prefix of a file that is being written; a suffix would hide the file's type


def check_writable(path: Path):
    """Refuse a file that could not be written at the end of long work. Nothing is created.

    Raises:
        RunError: the path is a directory, or is in a place where nothing can be written.
    """
    existing = path.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
    except (OSError, ValueError) as error:  # a name that is too long, or that no file can have
        raise cannot_write(path, error) from error
    if path.is_dir():
        raise RunError(f"Cannot write {path}: it is a directory; name a file.")
    if existing != path.absolute() and not existing.is_dir():
        raise RunError(f"Cannot write {path}: {existing} is not a directory.")
    if _is_device(path):
        raise RunError(f"Cannot write {path}: it is no regular file; name one.")
    # A file is replaced by a new one in its directory.
    problem = problem_of_writing(existing if existing.is_dir() else existing.parent)
    if problem:
        raise RunError(f"Cannot write {path} ({problem}).")
    if not os.access(existing, os.W_OK):
        raise RunError(f"Cannot write {path}: the file is write-protected.")


def problem_of_writing(directory: Path) -> str:
    """Why no file can be written to a directory, "" if one can. A directory that is missing stays so."""
    try:
        existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return reason(error)


def _is_device(path: Path) -> bool:
    """Whether a path names a device, a pipe or a socket, which a file must not replace."""
    parent = str(path.absolute().parent)
    return (
        (path.exists() and not path.is_file()) or parent in ("/dev", "/dev/fd") or parent.startswith("/proc")
    )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: a file that exists is replaced only by a complete one.

    Yields:
        the path to write to, in the same directory and with the same suffix. It is gone afterwards.

    Raises:
        RunError: an OSError in the body, there is no such directory, or the file cannot be replaced.
    """
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        if not path.parent.is_dir():  # some libraries would create it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if _is_device(path):
            raise OSError(errno.EINVAL, "it is no regular file")
        yield part
        flush_to_disk(part)
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def remove_parts(directory: Path):
    """Remove what processes that have ended were writing, by `whole_file`, to a directory of this project."""
    for path in directory.glob(f"{PART}*"):
        writer = re.match(rf"{PART}(\d+)-.", path.name)
        if writer and not psutil.pid_exists(int(writer.group(1))):
            with suppress(OSError):
                path.unlink()


def write_text(path: Path, text: str):
    """Write a text file, and create its directory.

    Raises:
        RunError: it cannot be written.
    """
    make_directory(path.parent)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any):
    """Write JSON that people can read, and create the file's directory.

    Raises:
        RunError: it cannot be written.
    """
    write_text(path, json.dumps(data, indent=2) + "\n")


def make_directory(path: Path):
    """Create a directory, and those above it, where they do not exist.

    Raises:
        RunError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def flush_to_disk(path: Path):
    """Wait until a file is on the disk. Without it, a power failure after a rename can leave an empty file.

    Raises:
        OSError: the disk is full.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def cannot_write(path: Path, error: Exception) -> RunError:
    """The error for the user, in one line."""
    return RunError(f"Cannot write {path} ({reason(error)}).")


def reason(error: Exception) -> str:
    """What an exception says, in one short line."""
    if isinstance(error, OSError) and error.strerror:
        error = OSError(error.strerror)  # the path is in our own message
    return first_line(error)[:120]
