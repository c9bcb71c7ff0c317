"""The game's page, extracted from the user's own browser once per version and stored in the user's cache."""

import logging
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs

from dino_rl.browser.chrome import Browser
from dino_rl.errors import BrowserError, PageError

log = logging.getLogger(__name__)

URL = "chrome://dino"
KNOWN_VERSIONS = "Chromium 156"
# The page's own script changes the document on DOMContentLoaded; a capturing listener runs before that.
KEEP_SOURCE = """
document.addEventListener("DOMContentLoaded", () => {
  window.dinoPageSource = document.documentElement.outerHTML;
}, true);
"""

# Scripts of the page and of its frames that did not arrive. A frame that did not arrive cannot be read.
MISSING = """
const missing = (frame) => {
  try {
    const files = frame.performance.getEntriesByType("resource");
    return files
      .filter((file) => file.initiatorType === "script" && file.responseStatus !== 200)
      .map((file) => file.name);
  } catch {
    return ["a frame"];
  }
};
return [window, ...Array.from(window.frames)].flatMap(missing);
"""


def cache_dir() -> Path:
    """Where pages are stored: DINO_RL_CACHE, else the user's cache directory."""
    return Path(os.environ.get("DINO_RL_CACHE") or platformdirs.user_cache_dir("dino-rl"))


def open_original(browser: Browser):
    """Load the unmodified chrome://dino. It is the page that Chrome shows for the error that `get` raises."""
    try:
        browser.open(URL)
    except BrowserError as error:
        if "ERR_INTERNET_DISCONNECTED" in str(error):
            return
        if "net::ERR_" in str(error):
            raise PageError(f"{browser.name} did not open {URL}: {error}") from error
        raise


def game_page(browser: Browser) -> str:
    """HTML of the game's page, from the cache or from `browser`.

    Raises:
        PageError: the browser has no game page, or a page that is not the game.
    """
    path = cache_dir() / "pages" / f"{browser.version}.html"
    with suppress(OSError, ValueError):  # there is none, or one that is damaged
        html = path.read_text(encoding="utf-8")
        if html.endswith("</html>"):
            return html
    html = _extract(browser)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError as error:  # not fatal: the page is extracted again next time
        _warn_of_cache(path.parent, error.strerror or str(error))
    return html


@cache
def _warn_of_cache(directory: Path, reason: str):
    """Once, however many browsers are started."""
    log.warning(
        "dino-rl: Cannot write to %s (%s): set DINO_RL_CACHE to a directory that you can write to.",
        directory,
        reason,
    )


def _extract(browser: Browser) -> str:
    identifier = browser.cdp("Page.addScriptToEvaluateOnNewDocument", {"source": KEEP_SOURCE})["identifier"]
    try:
        open_original(browser)
        html = browser.script("return window.dinoPageSource") or ""
    finally:
        browser.cdp("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})
    if not (re.search(r"\bclass Runner\b", html) and "<title>chrome://dino/</title>" in html):
        raise PageError(
            f"{browser.name} shows no Dino game at {URL} (a policy may have disabled it); "
            f"known to work: {KNOWN_VERSIONS}."
        )
    return "<!DOCTYPE html>" + html


def check_whole(browser: Browser):
    """Refuse a page of ours that was loaded in part: when Chromium's network process ends, a page goes on
    without the scripts that were under way.

    Raises:
        BrowserError: scripts of the page did not arrive.
    """
    if missing := browser.script(MISSING):
        name = missing[0].rpartition("/")[2]
        raise browser.fault(f"The browser loaded a page without some of its scripts ({name}).")


def page_error(browser: Browser, problem: str) -> PageError:
    """The error for a page that lacks something that the bridge needs."""
    return PageError(
        f"The Dino page of {browser.name} is not as expected ({problem}); known to work: {KNOWN_VERSIONS}."
    )
