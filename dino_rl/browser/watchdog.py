"""Ends a browser whose owner is gone without a word: killed, or a worker of a cluster that was lost.

Runs as a process of its own, `python watchdog.py PID`, that reads its standard input. Only the owner holds
the other end: when it reads the end of the file, there is no owner any more.
"""

import contextlib
import os
import subprocess
import sys
import time

import psutil


def watch_over(driver_pid: int) -> subprocess.Popen:
    """Have the driver and all of its session end with this process. Kill what is returned to call it off."""
    return subprocess.Popen(
        [sys.executable, "-I", __file__, str(driver_pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the owner alone
    )


def _wait_and_end(driver_pid: int):
    sys.stdin.buffer.read()
    while left := processes_of(driver_pid):  # killed children may start others first
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


def processes_of(driver_pid: int) -> set[psutil.Process]:
    """The driver and all below it that run now: its whole session, so that no orphan is forgotten."""
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
    """Whether it runs. One that has ended may wait long to be taken note of, in a container for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    _wait_and_end(int(sys.argv[1]))
