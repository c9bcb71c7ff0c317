"""A baseline: how the well-known tutorials drive the live game, with four WebDriver calls per step."""

import numpy as np

from dino_rl.browser import Game
from dino_rl.browser.frames import decode_png, to_frame

ARROW_UP = "\ue013"  # the key's code in the WebDriver protocol


class TutorialCalls:
    """Key, canvas, score and crash, each by a call of its own. The frame is resized in Python."""

    def __init__(self, game: Game):
        self._driver = game.browser.driver
        self._body = self._driver.find_element("tag name", "body")

    def step(self) -> tuple[np.ndarray, int, bool]:
        """Jump and observe. Restarts the game after a crash.

        Returns:
            frame uint8 [80, 80], score by the digits, crashed.
        """
        self._body.send_keys(ARROW_UP)
        frame = to_frame(decode_png(self._driver.execute_script("return DinoBridge.png()")))
        digits = "return DinoBridge.runner().distanceMeter.digits.join('')"
        score = int(self._driver.execute_script(digits) or 0)
        crashed = self._driver.execute_script("return DinoBridge.runner().crashed")
        if crashed:
            self._driver.execute_script("DinoBridge.runner().restart()")
        return frame, score, crashed
