"""Find Chrome or Chromium and its driver, start them, and end them in every case."""

import contextlib
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, WebDriverException
from selenium.webdriver.chrome.service import Service
from urllib3.exceptions import HTTPError

from dino_rl.browser.release import release_with
from dino_rl.browser.watchdog import is_running, processes_of, watch_over
from dino_rl.display import has_display
from dino_rl.errors import BrowserError

BROWSER_NAMES = (
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "chrome",
)
DRIVER_NAMES = ("chromedriver", "chromium.chromedriver")  # the second is Ubuntu's snap
BROWSER_PATHS = (  # on macOS and Windows, browsers are not on PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
)
INSTALL_HINT = "install one (Debian, Ubuntu: apt-get install chromium chromium-driver)"
CLOSED = "The browser is closed: make a new environment."
DOWNLOAD_TIMEOUT_S = 60
QUIT_TIMEOUT_S = 3

QUIET_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--mute-audio",
    "--lang=en-US",  # a right-to-left language mirrors the game
)
# A window in the background must not be throttled.
STEADY_ARGUMENTS = (
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--disable-features=CalculateNativeWinOcclusion",
)
WINDOW_SIZE = (800, 600)


def find_browser() -> str:
    """Path of the browser: CHROME_BINARY, else the first known name on PATH."""
    chosen = os.environ.get("CHROME_BINARY")
    if chosen:
        if not Path(chosen).is_file():
            raise BrowserError(f"CHROME_BINARY names {chosen}, which is not a file: correct it or unset it.")
        return chosen
    for name in BROWSER_NAMES:
        found = shutil.which(name)
        if found:
            return found
    for path in BROWSER_PATHS:
        if Path(path).is_file():
            return path
    raise BrowserError(f"No Chrome or Chromium found: {INSTALL_HINT}, or set CHROME_BINARY.")


def find_driver() -> str | None:
    """Path of an installed chromedriver (SE_CHROMEDRIVER, else PATH), or None."""
    chosen = os.environ.get("SE_CHROMEDRIVER")
    if chosen and not Path(chosen).is_file():
        raise BrowserError(f"SE_CHROMEDRIVER names {chosen}, which is not a file: correct it or unset it.")
    found = (shutil.which(name) for name in DRIVER_NAMES)
    return chosen or next(filter(None, found), None)


def version_of(program: str) -> str:
    """`156.0.8078.79` of `Chromium 156.0.8078.79 built on ...`; empty if the program does not answer."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
        match = re.search(r"\d+(\.\d+)+", text)
        if match:
            return match.group()
    return ""


def installed_browser() -> str:
    """`chrome 156.0.8078.79`, as `Browser.name`, without starting it."""
    return f"chrome {version_of(find_browser())}".strip()


def download_driver() -> str:
    """Path of a chromedriver that webdriver-manager downloads."""
    from webdriver_manager.chrome import ChromeDriverManager

    # In a daemon thread: without a network, webdriver-manager may wait forever.
    result: queue.Queue[str | None] = queue.Queue()

    def download():
        try:
            result.put(ChromeDriverManager().install())
        except Exception:  # noqa: BLE001 - whatever the reason, the remedy is the same
            result.put(None)

    threading.Thread(target=download, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        driver = result.get(timeout=DOWNLOAD_TIMEOUT_S)
        if driver:
            return driver
    raise BrowserError(
        f"No chromedriver found, and downloading one failed: {INSTALL_HINT}, or set SE_CHROMEDRIVER."
    )


class Browser:
    """One running browser with its driver.

    Owns their processes. They end with `close` or a `with` block, and also when this object is dropped or the
    interpreter exits. If this process is killed, a watchdog ends them.

    Args:
        headless: no window. A window needs a display.
        window_size: outer size in CSS pixels.

    Raises:
        BrowserError: no browser, no driver, versions that do not match, or no display.
    """

    def __init__(self, headless: bool = True, window_size: tuple[int, int] = WINDOW_SIZE):
        if not headless and not has_display():
            raise BrowserError("No display for a window: set DISPLAY, or use --headless.")
        binary = find_browser()
        driver = find_driver() or download_driver()
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in (*QUIET_ARGUMENTS, *STEADY_ARGUMENTS):
            options.add_argument(argument)
        options.add_argument("--window-size={},{}".format(*window_size))
        options.add_experimental_option("excludeSwitches", ["enable-automation"])
        if headless:
            options.add_argument("--headless=new")
            options.add_argument("--disable-gpu")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses to run as root with its sandbox
        try:
            # A session of its own: Ctrl-C must reach this process only.
            service = Service(driver, popen_kw={"start_new_session": True})
            self.driver = webdriver.Chrome(options=options, service=service)
        except WebDriverException as error:
            raise BrowserError(_start_failure(error, binary, driver, headless)) from error
        self.version = self.driver.capabilities["browserVersion"]
        self._release = release_with(
            self, _end, self.driver, self.pid, processes_of(self.pid), watch_over(self.pid)
        )
        try:
            self.driver.set_script_timeout(60)
            self._pin()
        except BaseException:
            self.close()
            raise

    def _pin(self):
        """Fix everything outside of the page that changes the game or its canvas."""
        width, height = WINDOW_SIZE
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.cdp(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "light"}]},
        )
        self.cdp("Emulation.setFocusEmulationEnabled", {"enabled": True})

    @property
    def pid(self) -> int:
        """Process id of the driver, parent of the browser's processes."""
        return self.driver.service.process.pid

    @property
    def name(self) -> str:
        """`chrome 156.0.8078.79`."""
        return f"{self.driver.capabilities['browserName']} {self.version}"

    @property
    def memory_mb(self) -> float:
        """Memory that only the browser's processes use (unique set size), in MB."""
        total = 0
        for process in processes_of(self.pid):
            with contextlib.suppress(psutil.Error):  # it has ended, or we may not read it
                total += process.memory_full_info().uss
        return total / 1e6

    def cdp(self, command: str, arguments: dict) -> dict:
        """One command of the Chrome DevTools Protocol."""
        with self._answering():
            return self.driver.execute_cdp_cmd(command, arguments)

    def open(self, url: str):
        """Load a page."""
        with self._answering():
            self.driver.get(url)

    def script(self, script: str, *arguments: Any) -> Any:
        """What a script returns.

        Raises:
            BrowserError: the browser stopped answering, or is closed.
            JavascriptException: the script threw an error, which is a bug.
        """
        with self._answering():
            return self.driver.execute_script(script, *arguments)

    def resolve(self, promise: str, *arguments: Any) -> Any:
        """What a JavaScript promise resolves to, or the text of the error that it is rejected with.

        Raises:
            BrowserError: as `script`.
        """
        script = f"const done = arguments[arguments.length - 1]; {promise}.then(done, (e) => done(String(e)))"
        with self._answering():
            return self.driver.execute_async_script(script, *arguments)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        if not self._release.alive:
            raise BrowserError(CLOSED)
        try:
            yield
        except JavascriptException:
            raise
        except WebDriverException as error:
            reason = (error.msg or "no reason given").strip().splitlines()[0]
            raise BrowserError(f"The browser stopped answering: {reason}") from error
        except (HTTPError, OSError) as error:
            raise BrowserError("The browser stopped answering: its driver has ended.") from error

    def close(self):
        """End the browser and its driver. A second call has no effect."""
        self._release()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_):
        self.close()


def _end(driver: webdriver.Chrome, pid: int, processes: set[psutil.Process], watchdog: subprocess.Popen):
    """End the browser and its driver, and kill what does not end by itself."""
    processes = processes | processes_of(pid)  # some have started since
    with contextlib.suppress(Exception):  # a browser that crashed cannot quit, but its processes must end
        driver.quit()
    deadline = time.monotonic() + QUIT_TIMEOUT_S
    while time.monotonic() < deadline and any(map(is_running, processes)):
        time.sleep(0.02)
    for process in filter(is_running, processes):
        with contextlib.suppress(psutil.Error):
            process.kill()
    watchdog.kill()
    watchdog.communicate()


def _start_failure(error: WebDriverException, binary: str, driver: str, headless: bool) -> str:
    browser_version, driver_version = version_of(binary), version_of(driver)
    if browser_version.split(".")[0] != driver_version.split(".")[0]:
        return (
            f"Browser {browser_version or binary} and driver {driver_version or driver} do not match: "
            "install the driver for the browser's version, or set SE_CHROMEDRIVER."
        )
    # With a window, a browser that exits at once has found no display.
    if not headless and ("instance exited" in str(error.msg) or "DevToolsActivePort" in str(error.msg)):
        return "The browser could not open a window on the display: check DISPLAY, or use --headless."
    first_line = (error.msg or "no reason given").strip().splitlines()[0]
    return f"{binary} did not start: {first_line}"
