"""One game of Chrome's Dino, driven through Selenium, under the lock-step or the live clock."""

import base64
import contextlib
import json
import time

import numpy as np
from selenium.common.exceptions import JavascriptException, WebDriverException

from dino_rl.browser.chrome import Browser
from dino_rl.browser.devtools import DevTools
from dino_rl.browser.frames import decode_png
from dino_rl.browser.observation import Observation
from dino_rl.browser.page import URL, game_page, open_original, page_error
from dino_rl.browser.server import BRIDGE_SCRIPTS, GAME_DIR, PageServer
from dino_rl.errors import BrowserError, DinoError
from dino_rl.settings import GameSettings

KEYS = {  # by the name of what a player does: (key, Windows key code)
    "up": ("ArrowUp", 38),
    "down": ("ArrowDown", 40),
    "enter": ("Enter", 13),
}
HELD_BY_ACTION = (None, "up", "down")
INTRO_TIMEOUT_S = 20
POLL_S = 0.02


class Game:
    """The two-way bridge to one game.

    Args:
        clock: "lockstep" (a frame passes when `step` says so) or "live" (the browser's time, real keys).
        url: "chrome://dino" plays on the untouched page (live only); None on our served copy of it.
        headless: no window.

    Raises:
        BrowserError: the browser cannot be started, or stopped answering.
        PageError: the browser's game lacks what the bridge needs.
    """

    def __init__(self, clock: str = "lockstep", url: str | None = None, headless: bool = True):
        if clock not in ("lockstep", "live"):
            raise DinoError(f"Unknown clock {clock!r}: use lockstep or live.")
        if url not in (None, URL):
            raise DinoError(f"Cannot play at {url}: use {URL}, or leave the address out.")
        if url and clock == "lockstep":
            raise DinoError(f"{URL} keeps its own time: use the live clock with it.")
        self.clock = clock
        self.late_frames = 0
        self._held: str | None = None
        self._thoughts: dict | None = None
        self.filming = False  # keep the canvas of every frame of a step (lock-step) or of its last (live)
        self.film: list[np.ndarray] = []
        self._visible = not headless
        self._server: PageServer | None = None
        self._line: DevTools | None = None  # live: straight to the page
        self.browser = Browser(headless)
        try:
            if url:
                open_original(self.browser)
                for name in BRIDGE_SCRIPTS:
                    self._script((GAME_DIR / name).read_text(encoding="utf-8"))
            else:
                self._server = PageServer(game_page(self.browser))
                self.browser.driver.get(f"{self._server.url}/dino.html?clock={clock}")
            if clock == "lockstep":
                problem = self._async("DinoBridge.prepare()")
            else:
                problem = self._first_live_start()
            if problem:
                raise page_error(self.browser, problem)
            self._fields = tuple(self._script("return DinoBridge.STATE_FIELDS"))
        except BaseException:
            self.end()
            raise

    # --- Start, pause, end ---------------------------------------------------------------------------

    def restart(self, seed: int = 0, settings: GameSettings = GameSettings()) -> Observation:
        """Start a new game. Under the live clock, seed and settings are the browser's own affair."""
        self.late_frames = 0
        if self.clock == "lockstep":
            self._held = None
            script = "DinoBridge.reset(arguments[0], arguments[1]); return DinoBridge.observation()"
            return self._observation(self._script(script, int(seed), settings.for_page()))
        self.release()
        if not self.crashed and self._script("return DinoBridge.runner().distanceRan > 0"):
            self._script("DinoBridge.runner().gameOver()")  # Enter restarts only a game that is over
        if self.crashed:
            self._tap("enter")
        self._wait_until("!DinoBridge.runner().crashed && DinoBridge.runner().playing")
        return self._observe(1)

    def pause(self):
        """Hold the game, as the page does when its window loses focus."""
        self._script("DinoBridge.pause()")

    def resume(self):
        """Go on after `pause`."""
        self._script("DinoBridge.resume()")

    def end(self):
        """Stop the browser and its driver."""
        if self._line is not None:
            self._line.close()
        if self._server is not None:
            self._server.close()
        self.browser.close()

    # --- Keys ----------------------------------------------------------------------------------------

    def press_up(self):
        """Hold the jump key down (again: a held key repeats, as a keyboard's does)."""
        self._hold("up")

    def press_down(self):
        """Hold the duck key down; in the air, drop."""
        self._hold("down")

    def release(self):
        """Let go of the keys: a jump is cut short, a duck ends."""
        self._hold(None)

    # --- State ---------------------------------------------------------------------------------------

    @property
    def score(self) -> int:
        """Score by the distance run; the digits on the screen wrap."""
        return int(self.observe().scores[0])

    @property
    def crashed(self) -> bool:
        return bool(self._script("return DinoBridge.runner().crashed"))

    @property
    def playing(self) -> bool:
        return bool(self._script("return DinoBridge.runner().playing"))

    def observe(self) -> Observation:
        """Picture and state as they are now."""
        return self._observation(self._script("return DinoBridge.observation()"))

    def canvas(self) -> np.ndarray:
        """The whole canvas on white, uint8 [150, W, 3]."""
        return decode_png(self._script("return DinoBridge.png()"))

    def numbers(self) -> dict[str, float]:
        """Every number in the game's state, by its path in the page's objects."""
        return self._script("return DinoBridge.numbers()")

    def take_delays(self) -> dict[str, list[float]]:
        """Live: delays between picture and key event since the last call, in frames and milliseconds."""
        return self._script("return DinoBridge.takeDelays()")

    def think_aloud(self, values: list[float], action: int, title: str):
        """Show a person, from the next step on, what the agent makes of the last picture."""
        self._thoughts = {"values": values, "action": action, "title": title}

    # --- One step ------------------------------------------------------------------------------------

    def step(self, action: int, frames: int) -> Observation:
        """Act (0 nothing, 1 jump, 2 duck), let `frames` frames pass, and look."""
        if self.clock == "lockstep":
            script = """
                const [action, frames, visible, thoughts, filming] = arguments;
                if (visible) DinoBridge.spectate(thoughts);
                const shots = [];
                DinoBridge.step(action, frames, filming ? () => shots.push(DinoBridge.png()) : null);
                return [DinoBridge.observation(), shots];"""
            data, shots = self._script(script, action, frames, self._visible, self._thoughts, self.filming)
            self.film = [decode_png(shot) for shot in shots]
            return self._observation(data)
        held = HELD_BY_ACTION[action]
        if held != self._held or held == "up":
            self._hold(held)
        observation = self._observe(frames)
        if self.filming:
            self.film = [self.canvas()]
        return observation

    def fast_forward(self, actions: np.ndarray, frames: int) -> Observation:
        """Lock-step: act through `actions`, int64 [N], `frames` frames each, and look once, at the end."""
        script = """
            for (const action of arguments[0]) DinoBridge.step(action, arguments[1]);
            return DinoBridge.observation();"""
        return self._observation(self._script(script, actions.tolist(), frames))

    def _observe(self, frames: int) -> Observation:
        assert self._line is not None, "only a live game is observed"
        answer = self._line.evaluate(f"DinoBridge.observe({frames}, {json.dumps(self._thoughts)})")
        self.late_frames = answer["late"]
        return self._observation(answer["data"])

    # --- The wire ------------------------------------------------------------------------------------

    def _hold(self, key: str | None):
        if self.clock == "lockstep":
            self._script("DinoBridge.hold(arguments[0])", HELD_BY_ACTION.index(key))
        else:
            if self._held and self._held != key:
                self._key_event("keyUp", self._held)
            if key:
                self._key_event("rawKeyDown", key, repeat=key == self._held)
        self._held = key

    def _tap(self, key: str):
        self._key_event("rawKeyDown", key)
        self._key_event("keyUp", key)

    def _key_event(self, type_: str, key: str, repeat: bool = False):
        name, code = KEYS[key]
        event = {
            "type": type_,
            "key": name,
            "code": name,
            "windowsVirtualKeyCode": code,
            "autoRepeat": repeat,
        }
        assert self._line is not None, "only a live game gets real keys"
        self._line.post("Input.dispatchKeyEvent", event)

    def _first_live_start(self) -> str | None:
        """Press up once and wait for the intro to end; return what the page lacks, if anything."""
        self._line = DevTools(self.browser)
        self._wait_until("DinoBridge.settled()")
        lacks = self._script("return DinoBridge.missing()")
        if lacks:
            return "missing: " + ", ".join(lacks)
        self._script("DinoBridge.watchLive()")
        self._tap("up")
        self._wait_until("DinoBridge.runner().activated && !DinoBridge.runner().playingIntro")
        return None

    def _wait_until(self, condition: str):
        deadline = time.monotonic() + INTRO_TIMEOUT_S
        while not self._script(f"return {condition}"):
            if time.monotonic() > deadline:
                raise BrowserError(f"The game did not get ready in {INTRO_TIMEOUT_S} s ({condition}).")
            time.sleep(POLL_S)

    def _script(self, script: str, *arguments):
        with self._answering():
            return self.browser.driver.execute_script(script, *arguments)

    def _async(self, promise: str, *arguments):
        script = f"const done = arguments[arguments.length - 1]; {promise}.then(done, (e) => done(String(e)))"
        with self._answering():
            return self.browser.driver.execute_async_script(script, *arguments)

    @contextlib.contextmanager
    def _answering(self):
        """A browser that is gone is the user's affair; an error in our own script stays a bug."""
        try:
            yield
        except JavascriptException:
            raise
        except WebDriverException as error:
            reason = (error.msg or "no reason given").strip().splitlines()[0]
            raise BrowserError(f"The browser stopped answering: {reason}") from error

    def _observation(self, data: str) -> Observation:
        return Observation.from_bytes(base64.b64decode(data), 1, self._fields)

    def __enter__(self) -> "Game":
        return self

    def __exit__(self, *_):
        self.end()
