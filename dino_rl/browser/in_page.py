"""Untouched chrome://dino with the exported player (game/player.js with a model in it) pasted into it."""

from typing import Any

from dino_rl.browser.chrome import Browser
from dino_rl.browser.devtools import DevTools
from dino_rl.browser.page import open_original
from dino_rl.errors import PageError
from dino_rl.resources import GAME_DIR

# Virtual time from the page's first script on. Frames run in `simulate` only.
VIRTUAL_TIME = """
{virtual_time}
window.simulatedTime = new DinoVirtualTime();
simulatedTime.rewind({seed});
simulatedTime.takeOver();
window.displayRandom = DinoVirtualTime.generator({seed} + 1);
window.displayLate = 0;
"""
SIMULATE = """
for (let i = 0; i < {frames} && !({until}); i++) {{
  let skipped = 0;
  while (displayRandom() < {skip_share}) skipped++;
  const late = -{late_ms} * Math.log(1 - displayRandom());
  simulatedTime.runFrame((1 + skipped) * {frame_ms} + late - displayLate);
  displayLate = late;
}}
"""
STATE = """
(({ distanceRan, crashed, currentSpeed }) => ({
  score: Math.round(Math.ceil(distanceRan) * 0.025), crashed, speed: currentSpeed,
}))(Runner.getInstance())
"""


class PlayerPage:
    """Untouched chrome://dino, into which a person can paste the exported player.

    The page is left as the browser ships it: no bridge. Python reads the score, and presses no key.

    Args:
        headless: no window.
        size: of the page, in CSS pixels.
        pixel_ratio: display pixels per CSS pixel.
        dark: the dark colour scheme.
        simulated_hz: frames per second of a simulated display. Its frames run in `simulate`, as fast as they
            can; None: the page's own frames in real time.
        skip_share: probability that a simulated display skips a frame, as on a busy machine.
        late_ms: how late the simulated frames begin in the mean, in milliseconds, exponentially distributed.
        seed: of the page's random numbers on a simulated display.
        real_time: as `Browser`. A browser that a person has opened is not.

    Raises:
        BrowserError: the browser cannot be started, or stopped answering.
        PageError: it has no Dino game.

    Attributes:
        hz: `simulated_hz`.
    """

    def __init__(
        self,
        headless: bool = True,
        size: tuple[int, int] = (800, 600),
        pixel_ratio: float = 1.0,
        dark: bool = False,
        simulated_hz: float | None = None,
        skip_share: float = 0.0,
        late_ms: float = 0.0,
        seed: int = 0,
        real_time: bool = False,
    ):
        self.hz = simulated_hz
        self._irregular = {"skip_share": skip_share, "late_ms": late_ms}
        self._devtools: DevTools | None = None
        self.browser = Browser(headless, real_time=real_time)
        try:
            self.browser.set_display(size, pixel_ratio, dark)
            if simulated_hz:
                text = (GAME_DIR / "virtual_time.js").read_text(encoding="utf-8")
                source = VIRTUAL_TIME.format(virtual_time=text, seed=seed)
                self.browser.cdp("Page.addScriptToEvaluateOnNewDocument", {"source": source})
            open_original(self.browser)
            self._devtools = DevTools(self.browser)
            if not self.evaluate("typeof Runner !== 'undefined' && !!document.querySelector('canvas')"):
                raise PageError(f"{self.browser.name} shows no Dino game.")
        except BaseException:
            self.close()
            raise

    @property
    def _open_devtools(self) -> DevTools:
        assert self._devtools is not None, "the page is loaded"
        return self._devtools

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as typed into the console of the developer tools.

        Raises:
            RuntimeError: it threw an error.
            BrowserError: the browser stopped answering, or is closed.
        """
        return self._open_devtools.evaluate(expression)

    def state(self) -> dict[str, Any]:
        """`score`, `crashed` and `speed` of the game, by its own variables."""
        return self.evaluate(STATE)

    def simulate(self, frames: int, until: str = "false") -> None:
        """Run frames of the simulated display.

        Args:
            frames: at most this many.
            until: a JavaScript expression; stop before a frame in which it is true.
        """
        assert self.hz, "the page has a simulated display"
        step = {"frame_ms": 1000 / self.hz, **self._irregular}
        self.evaluate(SIMULATE.format(frames=frames, until=until, **step))

    def press_escape(self) -> None:
        """A real key event, as from a keyboard."""
        for kind in ("rawKeyDown", "keyUp"):
            event = {"type": kind, "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27}
            self._open_devtools.post("Input.dispatchKeyEvent", event)

    def close(self):
        """Stop the browser. A second call has no effect."""
        if self._devtools is not None:
            self._devtools.close()
        self.browser.close()

    def __enter__(self) -> "PlayerPage":
        return self

    def __exit__(self, *_):
        self.close()
