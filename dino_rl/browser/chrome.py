"""Find Chrome or Chromium and its driver, start them, and end them in every case."""

import contextlib
import json
import logging
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
from urllib3.exceptions import HTTPError, TimeoutError

from dino_rl.browser.driver import ANSWER_TIMEOUT_S, start_driver
from dino_rl.browser.release import release_with
from dino_rl.browser.watchdog import processes_of
from dino_rl.display import has_display
from dino_rl.errors import BrowserError, NoBrowserError, WindowClosedError

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
END_TIMEOUT_S = 2  # of a browser whose window was closed
POLL_S = 0.05

QUIET_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
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

log = logging.getLogger(__name__)


def find_browser() -> str:
    """Path of the browser: CHROME_BINARY, else the first known name on PATH."""
    chosen = os.environ.get("CHROME_BINARY")
    if chosen:
        if not Path(chosen).is_file():
            raise NoBrowserError(
                f"CHROME_BINARY names {chosen}, which is not a file: correct it or unset it."
            )
        return chosen
    for name in BROWSER_NAMES:
        found = shutil.which(name)
        if found:
            return found
    for path in BROWSER_PATHS:
        if Path(path).is_file():
            return path
    raise NoBrowserError(f"No Chrome or Chromium found: {INSTALL_HINT}, or set CHROME_BINARY.")


def find_driver() -> str | None:
    """Path of an installed chromedriver (SE_CHROMEDRIVER, else PATH), or None."""
    chosen = os.environ.get("SE_CHROMEDRIVER")
    if chosen and not Path(chosen).is_file():
        raise NoBrowserError(f"SE_CHROMEDRIVER names {chosen}, which is not a file: correct it or unset it.")
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
    raise NoBrowserError(
        f"No chromedriver found, and downloading one failed: {INSTALL_HINT}, or set SE_CHROMEDRIVER."
    )


def chrome_options(
    binary: str, headless: bool = True, window_size: tuple[int, int] = WINDOW_SIZE
) -> webdriver.ChromeOptions:
    """How a browser is started. The sandbox is off for root only, for whom Chromium has none."""
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
        options.add_argument("--no-sandbox")
        log.debug("the browser's sandbox is off, because Chromium has none for root: use another account")
    return options


class Browser:
    """One running browser with its driver.

    Owns their processes. They end with `close` or a `with` block, and also when this object is dropped or the
    interpreter exits. If this process is killed, a watchdog ends them.

    Args:
        headless: no window. A window needs a display.
        window_size: outer size in CSS pixels.
        real_time: schedule it in real time, before other work, where the system allows that. A live game on a
            busy machine needs it.

    Raises:
        NoBrowserError: no browser, no driver, versions that do not match, or no display.
        BrowserError: the browser does not start.
    """

    def __init__(
        self, headless: bool = True, window_size: tuple[int, int] = WINDOW_SIZE, *, real_time: bool = False
    ):
        if not headless and not has_display():
            raise NoBrowserError("No display for a window: set DISPLAY, or use --headless.")
        binary = find_browser()
        driver = find_driver() or download_driver()
        options = chrome_options(binary, headless, window_size)
        try:
            self._driver = start_driver(driver)
        except BrowserError as error:
            raise _start_failure(str(error), binary, driver, headless) from error
        self._release = release_with(self, self._driver.end)
        if real_time:
            self._driver.request_real_time()
        self._has_window = not headless
        try:
            options.add_argument(f"--user-data-dir={self._driver.profile}")
            self.driver = self._driver.start_browser(options)
            self.version = self.driver.capabilities["browserVersion"]
            self._pin()
        except WebDriverException as error:
            self.close()
            reason = f"{binary} did not start: {_first_line(error)}"
            raise _start_failure(reason, binary, driver, headless) from error
        except (HTTPError, OSError) as error:
            self.close()
            raise BrowserError(f"{binary} did not start: {_why(error)}") from error
        except BaseException:
            self.close()
            raise
        log.debug("started %s (%s) by %s, process %d", self.name, binary, driver, self.pid)

    def _pin(self):
        """Fix everything outside of the page that changes the game or its canvas."""
        self.set_display(WINDOW_SIZE)
        self.cdp("Emulation.setFocusEmulationEnabled", {"enabled": True})

    def set_display(self, size: tuple[int, int], pixel_ratio: float = 1.0, dark: bool = False):
        """The display that pages see.

        Args:
            size: width and height of the page, in CSS pixels.
            pixel_ratio: display pixels per CSS pixel.
            dark: the colour scheme is dark.
        """
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": pixel_ratio, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", {"features": [scheme]})

    @property
    def pid(self) -> int:
        """Process id of the driver, parent of the browser's processes."""
        return self._driver.pid

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
        """What a JavaScript promise resolves to, or the text of the error that it is rejected with or that is
        thrown in its place.

        Raises:
            BrowserError: as `script`.
        """
        script = f"""
        const done = arguments[arguments.length - 1];
        (async () => {promise})().then(done, (error) => done(String(error)));
        """
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
            raise self.fault(f"The browser stopped answering: {_first_line(error)}") from error
        except (HTTPError, OSError) as error:
            raise self.fault(f"The browser stopped answering: {_why(error)}") from error

    def check(self):
        """For connections that do not go through the driver. What pins the page ends with the driver: a game
        could pause for ever.

        Raises:
            BrowserError: the driver has ended.
        """
        if not self._driver.running:
            raise self.fault("The browser stopped answering: its driver has ended.")

    def fault(self, what: str) -> BrowserError:
        """The error when the browser does not answer: `what`, or that the user closed its window."""
        if self._has_window and self._ended_in_order():
            return WindowClosedError("The window was closed.")
        return BrowserError(what)

    def _ended_in_order(self) -> bool:
        """Whether the browser has ended as if by its user. It notes so in its profile at the end."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                path = self._driver.profile / "Default" / "Preferences"
                preferences = json.loads(path.read_text(encoding="utf-8"))
                if preferences["profile"]["exit_type"] == "Normal":
                    return True
            time.sleep(POLL_S)
        return False

    def close(self):
        """End the browser and its driver. A second call has no effect."""
        self._release()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_):
        self.close()


def _first_line(error: WebDriverException) -> str:
    text = (error.msg or "no reason given").strip().splitlines()[0]
    return text.partition("; For documentation")[0]  # which Selenium appends


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"its driver gave no answer within {ANSWER_TIMEOUT_S} s."
    return "its driver has ended."


def _start_failure(reason: str, binary: str, driver: str, headless: bool) -> BrowserError:
    browser_version, driver_version = version_of(binary), version_of(driver)
    known = browser_version and driver_version
    if known and browser_version.split(".")[0] != driver_version.split(".")[0]:
        return NoBrowserError(
            f"Browser {browser_version} and driver {driver_version} do not match: install the driver for the "
            "browser's version, or set SE_CHROMEDRIVER."
        )
    # With a window, a browser that exits at once has found no display.
    if not headless and ("instance exited" in reason or "DevToolsActivePort" in reason):
        return NoBrowserError(
            "The browser could not open a window on the display: check DISPLAY, or use --headless."
        )
    return BrowserError(reason)
