"""The frame that an agent observes, computed in the readable way: PNG -> Pillow -> OpenCV.

`game/agent_frame.js` computes the same in the page, where it is fast; tests compare the two.
"""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from dino_rl.browser.observation import SIZE

TOP = 24  # the score digits are in rows 10-22: an agent must not read its reward


def decode_png(data_url: str) -> np.ndarray:
    """Canvas data URL -> RGB image on white, uint8 [H, W, 3].

    The game draws on a transparent canvas: without the alpha channel its background would be black.
    """
    png = Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2]))).convert("RGBA")
    white = Image.new("RGBA", png.size, "white")
    return np.asarray(Image.alpha_composite(white, png).convert("RGB"))


def to_frame(rgb: np.ndarray) -> np.ndarray:
    """RGB canvas, uint8 [150, W, 3] -> the agent's frame, uint8 [80, 80], dark on white.

    Rows from 24 on, full width, area mean. Sampling would skip canvas pixels, so a cactus could move without
    a change in the frame.
    """
    gray = cv2.cvtColor(rgb[TOP:], cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
