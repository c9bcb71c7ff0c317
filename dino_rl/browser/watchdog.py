"""Ends a browser whose owner was killed, for example a lost worker of a cluster.

Runs as a separate process, `python watchdog.py PID DIRECTORY`, that reads its standard input. Only the owner
holds the other end: end of file means that the owner is gone.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

POLL_S = 0.1
REMOVALS = 20  # of the directory, in which a dying process may still write


def watch_over(driver_pid: int, directory: Path) -> subprocess.Popen:
    """Start a process that ends the driver and all of its session when this process ends, and then removes
    their temporary directory.

    Kill the returned process to cancel that.
    """
    return subprocess.Popen(
        [sys.executable, "-I", __file__, str(driver_pid), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the owner only
    )


def _wait_and_end(driver_pid: int, directory: str):
    sys.stdin.buffer.read()
    while remaining := processes_of(driver_pid):  # a child may start others before it is killed
        for process in remaining:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_S)
    for _ in range(REMOVALS):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            break
        time.sleep(POLL_S)


def processes_of(driver_pid: int) -> set[psutil.Process]:
    """The driver and all its running descendants; its whole session, so that orphans are included."""
    found = set()
    with contextlib.suppress(psutil.Error):
        driver = psutil.Process(driver_pid)
        found = {driver, *driver.children(recursive=True)}
    if hasattr(os, "getsid"):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == driver_pid:
                    found.add(process)
    return set(filter(is_running, found))


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs. A zombie does not; in a container nobody may ever reap it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    _wait_and_end(int(sys.argv[1]), sys.argv[2])
