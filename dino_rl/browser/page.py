"""The game's page, extracted from the user's own browser once per version and stored in the user's cache."""

import os
import re
from pathlib import Path

import platformdirs
from selenium.common.exceptions import WebDriverException

from dino_rl.browser.chrome import Browser
from dino_rl.errors import PageError

URL = "chrome://dino"
KNOWN_VERSIONS = "Chromium 156"
# The page's own script changes the document on DOMContentLoaded; a capturing listener runs before that.
KEEP_SOURCE = """
document.addEventListener("DOMContentLoaded", () => {
  window.dinoPageSource = document.documentElement.outerHTML;
}, true);
"""


def cache_dir() -> Path:
    """Where pages are stored: DINO_RL_CACHE, else the user's cache directory."""
    return Path(os.environ.get("DINO_RL_CACHE") or platformdirs.user_cache_dir("dino-rl"))


def open_original(browser: Browser):
    """Load the unmodified chrome://dino. It is the page that Chrome shows for the error that `get` raises."""
    try:
        browser.driver.get(URL)
    except WebDriverException as error:
        if "ERR_INTERNET_DISCONNECTED" not in (error.msg or ""):
            raise PageError(
                f"{browser.name} did not open {URL}: {(error.msg or '').splitlines()[0]}"
            ) from error


def game_page(browser: Browser) -> str:
    """HTML of the game's page, from the cache or from `browser`.

    Raises:
        PageError: the browser has no game page, or a page that is not the game.
    """
    path = cache_dir() / "pages" / f"{browser.version}.html"
    if path.is_file():
        html = path.read_text(encoding="utf-8")
        if html.endswith("</html>"):
            return html
    html = _extract(browser)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError:
        pass  # without a cache, the page is extracted again next time
    return html


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


def page_error(browser: Browser, problem: str) -> PageError:
    """The error for a page that lacks something that the bridge needs."""
    return PageError(
        f"The Dino page of {browser.name} is not as expected ({problem}); known to work: {KNOWN_VERSIONS}."
    )
