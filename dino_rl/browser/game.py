"""One game of Chrome's Dino, driven through Selenium, under the lock-step or the live clock."""

import base64
import json
import time

import numpy as np

from dino_rl.browser.chrome import Browser
from dino_rl.browser.devtools import DevTools
from dino_rl.browser.frames import decode_png
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import Observation
from dino_rl.browser.page import URL, check_whole, game_page, open_original, page_error
from dino_rl.browser.server import BRIDGE_SCRIPTS, PageServer
from dino_rl.errors import BrowserError, DinoError
from dino_rl.resources import GAME_DIR

KEYS = {  # (key, Windows key code)
    "up": ("ArrowUp", 38),
    "down": ("ArrowDown", 40),
    "enter": ("Enter", 13),
}
HELD_BY_ACTION = (None, "up", "down")
INTRO_TIMEOUT_S = 20
POLL_S = 0.02


class Game:
    """One game in a browser of its own.

    Args:
        clock: "lockstep" (frames run only in `step`) or "live" (real time, real key events).
        url: "chrome://dino" for the unmodified page (live only); None for the served copy.
        headless: no window.

    Raises:
        BrowserError: the browser cannot be started, stopped answering, or is closed.
        PageError: the browser's game lacks something that the bridge needs.

    Attributes:
        late_frames: how many frames later than requested the last live observation was.
        recording: whether `step` stores the canvas: of every frame (lock-step), of the last frame (live).
        recorded_frames: canvases of the last step, uint8 [150, W, 3] each.
        picture_wanted: have the next step store the canvas as `picture`.
        picture: a PNG file on a transparent background, b"" before the first.
    """

    def __init__(self, clock: str = "lockstep", url: str | None = None, headless: bool = True):
        if clock not in ("lockstep", "live"):
            raise DinoError(f"Unknown clock {clock!r}: use lockstep or live.")
        if url not in (None, URL):
            raise DinoError(f"Cannot play at {url}: use {URL}, or leave the address out.")
        if url and clock == "lockstep":
            raise DinoError(f"{URL} runs in real time: use the live clock.")
        self.clock = clock
        self.late_frames = 0
        self._held: str | None = None
        self._annotation: dict | None = None
        self.recording = False
        self.recorded_frames: list[np.ndarray] = []
        self.picture_wanted = False
        self.picture = b""
        self._visible = not headless
        self._server: PageServer | None = None
        self._devtools: DevTools | None = None  # of a live game
        self.browser = Browser(headless, real_time=clock == "live")
        try:
            if url:
                open_original(self.browser)
                for name in BRIDGE_SCRIPTS:
                    self.browser.script((GAME_DIR / name).read_text(encoding="utf-8"))
            else:
                self._server = PageServer(game_page(self.browser))
                self.browser.open(f"{self._server.url}/dino.html?clock={clock}")
                check_whole(self.browser)
            if clock == "lockstep":
                problem = self.browser.resolve("DinoBridge.prepare()")
            else:
                problem = self._first_live_start()
            if problem:
                raise page_error(self.browser, problem)
            self._fields = tuple(self.browser.script("return DinoBridge.STATE_FIELDS"))
        except BaseException:
            self.end()
            raise

    # --- Start, pause, end ---------------------------------------------------------------------------

    def restart(self, seed: int = 0, settings: GameSettings | None = GameSettings()) -> Observation:
        """Start a new game.

        Args:
            seed: of the game's random numbers. The live clock ignores it, and the settings, too.
            settings: None returns a rewindable game to a moment before its end, as in `Arena.send`.
        """
        self.late_frames = 0
        if self.clock == "lockstep":
            self._held = None
            start = "reset(...arguments)" if settings else "rewind(arguments[0])"
            script = f"DinoBridge.{start}; return DinoBridge.observation()"
            return self._observation(self.browser.script(script, int(seed), settings and settings.for_page()))
        self.release()
        if not self.crashed and self.browser.script("return DinoBridge.runner().distanceRan > 0"):
            self.browser.script("DinoBridge.runner().gameOver()")  # Enter restarts only a game that is over
        if self.crashed:
            self._tap("enter")
        self._wait_until("!DinoBridge.runner().crashed && DinoBridge.runner().playing")
        self.browser.script("DinoBridge.beginLiveGame()")
        return self._observe(1)

    def pause(self):
        """Pause the game, as the page does when its window loses focus."""
        self.browser.script("DinoBridge.pause()")

    def resume(self):
        """Continue after `pause`."""
        self.browser.script("DinoBridge.resume()")

    def end(self):
        """Stop the browser. A second call has no effect."""
        if self._devtools is not None:
            self._devtools.close()
        if self._server is not None:
            self._server.close()
        self.browser.close()

    # --- Keys ----------------------------------------------------------------------------------------

    def press_up(self):
        """Hold the jump key down. Called again, the key repeats as on a keyboard."""
        self._hold("up")

    def press_down(self):
        """Hold the duck key down. In the air, the dino drops."""
        self._hold("down")

    def release(self):
        """Release the keys: a jump is cut short, a duck ends."""
        self._hold(None)

    # --- State ---------------------------------------------------------------------------------------

    @property
    def score(self) -> int:
        """Score by the distance. The digits on the screen wrap."""
        return int(self.observe().scores[0])

    @property
    def crashed(self) -> bool:
        return bool(self.browser.script("return DinoBridge.runner().crashed"))

    @property
    def playing(self) -> bool:
        return bool(self.browser.script("return DinoBridge.runner().playing"))

    def observe(self) -> Observation:
        """Frame and state as they are now."""
        return self._observation(self.browser.script("return DinoBridge.observation()"))

    def canvas(self) -> np.ndarray:
        """The whole canvas on white, uint8 [150, W, 3]."""
        return decode_png(self.browser.script("return DinoBridge.png()"))

    def state_numbers(self) -> dict[str, float]:
        """Every number in the game's state, by its path in the page's objects."""
        return self.browser.script("return DinoBridge.stateNumbers()")

    def take_delays(self) -> dict[str, list[float]]:
        """Live: delays from observation to key event since the last call, in frames and milliseconds."""
        return self.browser.script("return DinoBridge.takeDelays()")

    def annotate(self, values: list[float], action: int, title: str):
        """Show in the window, from the next step on, the last frame and the decision made on it.

        Args:
            values: one for each action.
            action: the chosen one.
            title: one line.
        """
        self._annotation = {"values": values, "action": action, "title": title}

    # --- One step ------------------------------------------------------------------------------------

    def step(self, action: int, frames: int) -> Observation:
        """Act (0 nothing, 1 jump, 2 duck), run `frames` frames, and observe."""
        if self.clock == "lockstep":
            script = """
                const [action, frames, visible, annotation, recording] = arguments;
                if (visible) DinoBridge.show(annotation);
                const recorded = [];
                DinoBridge.step(action, frames, recording ? () => recorded.push(DinoBridge.png()) : null);
                return [DinoBridge.observation(), recorded];"""
            options = (self._visible, self._annotation, self.recording)
            data, recorded = self.browser.script(script, action, frames, *options)
            self.recorded_frames = [decode_png(png) for png in recorded]
            if self.picture_wanted:
                self._keep_picture(self.browser.script("return DinoBridge.png()"))
            return self._observation(data)
        held = HELD_BY_ACTION[action]
        if held != self._held or held == "up":
            self._hold(held)
        if self.picture_wanted:  # now that the key is on its way
            assert self._devtools is not None, "only a live game has real keys"
            self._keep_picture(self._devtools.evaluate("DinoBridge.png()"))
        observation = self._observe(frames)
        if self.recording:
            self.recorded_frames = [self.canvas()]
        return observation

    def fast_forward(self, actions: np.ndarray, frames: int) -> Observation:
        """Lock-step: perform `actions`, int64 [N], each for `frames` frames, and observe once, at the end."""
        script = """
            for (const action of arguments[0]) DinoBridge.step(action, arguments[1]);
            return DinoBridge.observation();"""
        return self._observation(self.browser.script(script, actions.tolist(), frames))

    def _keep_picture(self, data_url: str):
        self.picture = base64.b64decode(data_url.partition(",")[2])
        self.picture_wanted = False

    def _observe(self, frames: int) -> Observation:
        assert self._devtools is not None, "only a live game is observed"
        answer = self._devtools.evaluate(f"DinoBridge.observe({frames}, {json.dumps(self._annotation)})")
        self.late_frames = answer["late"]
        return self._observation(answer["data"])

    # --- Communication with the page -----------------------------------------------------------------

    def _hold(self, key: str | None):
        if self.clock == "lockstep":
            self.browser.script("DinoBridge.hold(arguments[0])", HELD_BY_ACTION.index(key))
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
        assert self._devtools is not None, "only a live game gets real keys"
        self._devtools.post("Input.dispatchKeyEvent", event)

    def _first_live_start(self) -> str | None:
        """Press up once and wait for the intro to end. Returns what the page lacks, if anything."""
        self._devtools = DevTools(self.browser)
        self._wait_until("DinoBridge.settled()")
        lacks = self.browser.script("return DinoBridge.missing()")
        if lacks:
            return "missing: " + ", ".join(lacks)
        self.browser.script("DinoBridge.watchLive()")
        self._tap("up")
        self._wait_until("DinoBridge.runner().activated && !DinoBridge.runner().playingIntro")
        return None

    def _wait_until(self, condition: str):
        deadline = time.monotonic() + INTRO_TIMEOUT_S
        while not self.browser.script(f"return {condition}"):
            if time.monotonic() > deadline:
                raise BrowserError(f"The game was not ready within {INTRO_TIMEOUT_S} s ({condition}).")
            time.sleep(POLL_S)

    def _observation(self, data: str) -> Observation:
        return Observation.from_bytes(base64.b64decode(data), 1, self._fields)

    def __enter__(self) -> "Game":
        return self

    def __exit__(self, *_):
        self.end()
