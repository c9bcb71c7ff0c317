"""Who may write to a run's directory: one process at a time."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dino_rl.errors import RunError
from dino_rl.locks import DirectoryLock
from dino_rl.runs.output import cannot_write, make_directory


class RunLock:
    """Held by the process that writes to a run's directory. It ends with the process, however that ends.

    Args:
        path: of the directory, which is created if it does not exist.

    Raises:
        RunError: another process holds the lock, or the directory cannot be created.
    """

    def __init__(self, path: Path):
        self._created = _missing(path)
        make_directory(path)
        try:
            self._lock = DirectoryLock(path)
        except BlockingIOError as error:
            raise RunError(
                f"{path} is in use by another process: wait for its end, or name another directory."
            ) from error

    def close(self) -> None:
        """Let others write, and remove the directory if it was created for nothing."""
        _remove_empty(self._created)
        self._lock.release()


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Create a directory that no other process has: `path`, or with a number behind it if it exists.

    Yields:
        the directory. It is removed afterwards if it is still empty.

    Raises:
        RunError: it cannot be created.
    """
    parents = _missing(path.parent)
    for number in itertools.count(1):
        created = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            created.mkdir(parents=True)  # fails if it exists: of two processes, one gets it
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(created, error) from error
    try:
        yield created
    finally:
        _remove_empty([created, *parents])


def _missing(path: Path) -> list[Path]:
    """Of a directory and those above it, the ones that do not exist; the innermost first."""
    return list(itertools.takewhile(lambda each: not each.exists(), [path, *path.parents]))


def _remove_empty(directories: Iterable[Path]):
    with suppress(OSError):
        for directory in directories:
            directory.rmdir()
