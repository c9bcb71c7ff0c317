"""Find Chrome or Chromium and its driver, start them, and stop them, always."""

import contextlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

from dino_rl.browser.watchdog import is_running, processes_of, watch_over
from dino_rl.errors import BrowserError

BROWSER_NAMES = (
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "chrome",
)
DRIVER_NAMES = ("chromedriver", "chromium.chromedriver")  # the second is Ubuntu's snap
BROWSER_PATHS = (  # macOS and Windows do not put browsers on PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
)
INSTALL_HINT = "install one (Debian, Ubuntu: apt-get install chromium chromium-driver)"
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
# A window that is covered or not in front must keep its speed.
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
    """`156.0.8078.79` of `Chromium 156.0.8078.79 built on ...`; empty where it cannot be told."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
        match = re.search(r"\d+(\.\d+)+", text)
        if match:
            return match.group()
    return ""


def download_driver() -> str:
    """chromedriver by webdriver-manager, for who has a browser and no driver."""
    from webdriver_manager.chrome import ChromeDriverManager

    # In a thread that can be left behind: webdriver-manager waits for a dead network without end.
    result: queue.Queue[str | None] = queue.Queue()

    def download():
        try:
            result.put(ChromeDriverManager().install())
        except Exception:  # noqa: BLE001 - whatever a third-party download fails of has this one remedy
            result.put(None)

    threading.Thread(target=download, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        driver = result.get(timeout=DOWNLOAD_TIMEOUT_S)
        if driver:
            return driver
    raise BrowserError(
        f"No chromedriver found, and downloading one failed: {INSTALL_HINT}, or set SE_CHROMEDRIVER."
    )


def has_display() -> bool:
    """Whether a window can be shown."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Browser:
    """One running browser with its driver.

    Owns the processes: `close` (or leaving a `with` block) ends them, whatever state they are in. Where the
    owner is killed, a watchdog ends them.

    Args:
        headless: no window. A window needs a display.
        window_size: outer size in CSS pixels.

    Raises:
        BrowserError: no browser, no driver, versions that do not fit, no display.
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
            # A session of its own: Ctrl-C is for us to handle, and must not reach the browser.
            service = Service(driver, popen_kw={"start_new_session": True})
            self.driver = webdriver.Chrome(options=options, service=service)
        except WebDriverException as error:
            raise BrowserError(_start_failure(error, binary, driver, headless)) from error
        self.version = self.driver.capabilities["browserVersion"]
        self._watchdog = watch_over(self.pid)
        self._processes = processes_of(self.pid)
        try:
            self.driver.set_script_timeout(60)
            self._pin()
        except BaseException:
            self.close()
            raise

    def _pin(self):
        """Dark mode, pixel ratio and focus change the game or its picture: hold them still."""
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
        """`chrome 156.0.8078.79`, as results record it."""
        return f"{self.driver.capabilities['browserName']} {self.version}"

    @property
    def memory_mb(self) -> float:
        """Memory that the browser's processes share with nobody, in MB."""
        total = 0
        for process in processes_of(self.pid):
            with contextlib.suppress(psutil.Error):  # gone, or not ours to look at
                total += process.memory_full_info().uss
        return total / 1e6

    def cdp(self, command: str, arguments: dict) -> dict:
        """One command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def close(self):
        """End the browser and its driver; kill what does not go by itself."""
        self._processes |= processes_of(self.pid)  # some have started since
        with contextlib.suppress(Exception):  # a browser that crashed cannot quit; its processes still must
            self.driver.quit()
        deadline = time.monotonic() + QUIT_TIMEOUT_S
        while time.monotonic() < deadline and any(map(is_running, self._processes)):
            time.sleep(0.02)
        for process in filter(is_running, self._processes):
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._processes = set()
        self._watchdog.kill()
        self._watchdog.communicate()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_):
        self.close()


def _start_failure(error: WebDriverException, binary: str, driver: str, headless: bool) -> str:
    browser_version, driver_version = version_of(binary), version_of(driver)
    if browser_version.split(".")[0] != driver_version.split(".")[0]:
        return (
            f"Browser {browser_version or binary} and driver {driver_version or driver} do not fit: "
            "install the driver of the browser's version, or set SE_CHROMEDRIVER."
        )
    # With a window, a browser that starts and is gone at once has found no display to open it on.
    if not headless and ("instance exited" in str(error.msg) or "DevToolsActivePort" in str(error.msg)):
        return "The browser could not open a window on the display: check DISPLAY, or use --headless."
    first_line = (error.msg or "no reason given").strip().splitlines()[0]
    return f"{binary} did not start: {first_line}"
