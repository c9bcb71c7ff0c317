"""The driver: a process that is started and answers within a bound, that no proxy is in the way to, and that
is ended in every case, with its browser and their temporary directory."""

import contextlib
import http.client
import os
import re
import subprocess
import time
from pathlib import Path

import psutil
from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.webdriver import WebDriver

from dino_rl.browser.watchdog import is_running, processes_of, watch_over
from dino_rl.errors import BrowserError
from dino_rl.workspace import Workspace

START_TIMEOUT_S = 30
START_TRIES = 5
ANSWER_TIMEOUT_S = 90  # to any command; the driver itself gives the page less: `PAGE_TIMEOUT_S`
PAGE_TIMEOUT_S = 60
QUIT_TIMEOUT_S = 3
POLL_S = 0.01
HOST = "127.0.0.1"
STARTED = re.compile(rb"started successfully on port (\d+)")
# The driver takes any port that is free for IPv6, and ends if another program has the same one for IPv4.
PORT_TAKEN = re.compile(rb"port not available", re.IGNORECASE)


class _PortTakenError(BrowserError):
    """The driver chose a port that another program has."""


class Driver:
    """A running chromedriver, and the browser that it starts. End it with `end`.

    If this process is killed, a watchdog ends both.

    Args:
        program: its path.

    Raises:
        BrowserError: it does not start.
    """

    def __init__(self, program: str):
        self._processes: set[psutil.Process] = set()
        self._process: subprocess.Popen | None = None
        self._watchdog: subprocess.Popen | None = None
        self._session: str | None = None
        try:
            self._workspace = Workspace()
        except OSError as error:
            raise BrowserError(f"No temporary directory for a browser: {error.strerror or error}.") from error
        try:
            with self._workspace.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [program, "--port=0"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._workspace.environment(),
                    start_new_session=True,  # Ctrl-C is for this process only
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            self._watchdog = watch_over(self.pid, self._workspace.path)
            self._port = self._wait_for_port(self._process, program)
        except OSError as error:
            self.end()
            raise BrowserError(f"{program} did not start: {error.strerror or error}.") from error
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Process id of the driver, parent of the browser's processes."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def profile(self) -> Path:
        """Directory of the browser's profile, which stays until the end."""
        return self._workspace.path / "profile"

    def _wait_for_port(self, process: subprocess.Popen, program: str) -> int:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            said = self._workspace.log.read_bytes()
            started = STARTED.search(said)
            if started:
                return int(started.group(1))
            if process.poll() is not None:
                last = said.decode(errors="replace").strip().splitlines()[-1:]
                kind = _PortTakenError if PORT_TAKEN.search(said) else BrowserError
                raise kind(f"{program} ended at its start: {''.join(last) or 'it gave no reason'}.")
            time.sleep(POLL_S)
        raise BrowserError(f"{program} did not start within {START_TIMEOUT_S} s.")

    def request_real_time(self) -> None:
        """Ask Linux to schedule the driver, and the browser that it will start, in real time: while they have
        something to do, other work waits, but for a twentieth of the time, which the kernel keeps for it.

        Elsewhere, and where the account may not ask for it (most may not), nothing changes.
        """
        with contextlib.suppress(OSError):
            for thread in Path("/proc", str(self.pid), "task").iterdir():
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))

    def start_browser(self, options: webdriver.ChromeOptions) -> WebDriver:
        """A browser, driven through Selenium.

        Raises:
            WebDriverException, urllib3.exceptions.HTTPError: it does not start.
        """
        address = f"http://{HOST}:{self._port}"
        # Without a retry: a driver that has ended will not come back.
        pool = {"init_args_for_pool_manager": {"retries": False}}
        config = ClientConfig(
            remote_server_addr=address, timeout=ANSWER_TIMEOUT_S, init_args_for_pool_manager=pool
        )
        connection = ChromeRemoteConnection(address, ignore_proxy=True, client_config=config)
        browser = WebDriver(command_executor=connection, options=options)
        self._session = browser.session_id
        self._processes = processes_of(self.pid)
        browser.set_page_load_timeout(PAGE_TIMEOUT_S)
        browser.set_script_timeout(PAGE_TIMEOUT_S)
        return browser

    def end(self) -> None:
        """End the browser and the driver, and remove their temporary directory.

        What does not end by itself is killed.
        """
        if self._process is not None:
            self._end_processes(self._process)
        self._workspace.remove()
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()

    def _end_processes(self, driver: subprocess.Popen):
        processes = self._processes | processes_of(driver.pid)  # some have started since
        if self._session and driver.poll() is None:
            with contextlib.suppress(Exception):  # a browser that hangs or crashed cannot quit
                self._quit(self._session)
        deadline = time.monotonic() + QUIT_TIMEOUT_S
        while processes and time.monotonic() < deadline:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(POLL_S)
            processes = set(filter(is_running, processes | processes_of(driver.pid)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(QUIT_TIMEOUT_S)

    def _quit(self, session: str):
        request = http.client.HTTPConnection(HOST, self._port, timeout=QUIT_TIMEOUT_S)
        request.request("DELETE", f"/session/{session}")
        request.getresponse().read()
        request.close()


def start_driver(program: str) -> Driver:
    """A driver, tried again if the port that it chose was taken.

    Args:
        program: its path.

    Raises:
        BrowserError: it does not start.
    """
    for _ in range(START_TRIES - 1):
        with contextlib.suppress(_PortTakenError):
            return Driver(program)
    return Driver(program)
