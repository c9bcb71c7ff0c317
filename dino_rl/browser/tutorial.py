"""The tutorial's way to see and act, live: four WebDriver calls a step. Kept to be measured against."""

import numpy as np
from selenium.webdriver.common.keys import Keys

from dino_rl.browser.frames import decode_png, to_picture
from dino_rl.browser.game import Game


class TutorialCalls:
    """Key, canvas, score and crashed, each a call of its own; the picture is resized in Python."""

    def __init__(self, game: Game):
        self._driver = game.browser.driver
        self._body = self._driver.find_element("tag name", "body")

    def step(self) -> tuple[np.ndarray, int, bool]:
        """Jump and look: picture uint8 [80, 80], score by the digits, crashed. Restarts after a crash."""
        self._body.send_keys(Keys.ARROW_UP)
        picture = to_picture(decode_png(self._driver.execute_script("return DinoBridge.png()")))
        digits = "return DinoBridge.runner().distanceMeter.digits.join('')"
        score = int(self._driver.execute_script(digits) or 0)
        crashed = self._driver.execute_script("return DinoBridge.runner().crashed")
        if crashed:
            self._driver.execute_script("DinoBridge.runner().restart()")
        return picture, score, crashed
