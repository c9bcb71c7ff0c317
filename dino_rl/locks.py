"""Locks on directories. A lock ends with the process that holds it, however it ends, and leaves no file."""

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".lock"  # on Windows, which locks no directories


class DirectoryLock:
    """An exclusive lock on a directory, for the processes that ask for it.

    There is none where the system has no such locks (some network file systems), or where the directory
    cannot be opened. The one for Windows has not been tried.

    Args:
        path: of the directory.

    Raises:
        BlockingIOError: another process holds it.
    """

    def __init__(self, path: Path):
        self._descriptor: int | None = None
        try:
            descriptor = _open(path)
        except OSError:  # the first file that is written there says why
            return
        try:
            _lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up. A second call has no effect."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


if sys.platform == "win32":

    def _open(path: Path) -> int:
        # Windows removes a temporary file when the last process that has it open ends.
        return os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_TEMPORARY)

    def _lock(descriptor: int):
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:  # what Windows says of a lock that another process holds
            raise BlockingIOError(*error.args) from error

else:

    def _open(path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def _lock(descriptor: int):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
