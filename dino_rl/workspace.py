"""Temporary directories that a killed process does not leave for good.

That of a browser has its profile, its driver's log, all that the two leave. It is removed when the browser is
closed, and by the watchdog when the browser's owner is killed. Whatever remains, the next `Workspace` or run
removes.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from dino_rl.locks import DirectoryLock

PREFIX = "dino-rl-"  # then the owner's process id
# A browser listens on a socket in its temporary directory, below a name of its own of this length. The
# system's limit for the path of a socket is 108, on macOS 104.
MAX_PATH = 104 - len("/.org.chromium.Chromium.XXXXXX/SingletonSocket") - 1
END_TIMEOUT_S = 5
TEMPORARY = ("TMPDIR", "TMP", "TEMP", "MAC_CHROMIUM_TMPDIR")  # where programs look for the directory


class Workspace:
    """A new temporary directory of this process; as a context, its path.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = _make_directory()
        self._lock = DirectoryLock(self.path)

    @property
    def log(self) -> Path:
        """What the driver says."""
        return self.path / "driver.log"

    def environment(self) -> dict[str, str]:
        """Environment variables for a process that keeps its temporary files here."""
        return {**os.environ, **dict.fromkeys(TEMPORARY, str(self.path))}

    def remove(self) -> None:
        """Remove the directory. A second call has no effect."""
        remove_directory(self.path)
        self._lock.release()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_):
        self.remove()


def _make_directory() -> Path:
    prefix = f"{PREFIX}{os.getpid()}-"
    path = Path(tempfile.mkdtemp(prefix=prefix))
    if len(str(path)) > MAX_PATH and os.name == "posix":
        with suppress(OSError):
            shorter = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
            path.rmdir()
            return shorter
    return path


def remove_abandoned() -> None:
    """Remove the directories whose owners have ended."""
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for path in parent.glob(f"{PREFIX}*"):
            owner = re.match(rf"{PREFIX}(\d+)-", path.name)
            if not owner or psutil.pid_exists(int(owner.group(1))) or not _is_ours(path):
                continue
            # Of a process in another container, too, which shares the directory and not the process ids.
            with suppress(BlockingIOError):
                lock = DirectoryLock(path)
                _end_users(path)
                remove_directory(path)
                lock.release()


def _end_users(directory: Path) -> None:
    """End a driver and a browser that outlived their owner and their watchdog: they go on writing."""
    ended = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            of_driver = process.environ().get("TMPDIR") == str(directory)
            if of_driver or any(str(directory) in word for word in process.cmdline()):
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=END_TIMEOUT_S)


def _is_ours(path: Path) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    with suppress(OSError):
        return path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink()
    return False


def remove_directory(path: Path) -> None:
    """Remove a directory, whose processes may not have ended yet."""
    for _ in range(3):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
