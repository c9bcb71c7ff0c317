"""The picture that an agent sees, computed in the readable way: PNG -> Pillow -> OpenCV.

`game/picture.js` computes the same in the page, where it is fast; tests hold the two together.
"""

import base64
import io

import cv2
import numpy as np
from PIL import Image

SIZE = 80
TOP = 24  # the score digits stand in rows 10-22: an agent must not read its reward


def decode_png(data_url: str) -> np.ndarray:
    """Canvas data URL -> RGB picture on white, uint8 [H, W, 3].

    The game draws on a transparent canvas: dropping alpha would turn its background black.
    """
    png = Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2]))).convert("RGBA")
    white = Image.new("RGBA", png.size, "white")
    return np.asarray(Image.alpha_composite(white, png).convert("RGB"))


def to_picture(rgb: np.ndarray) -> np.ndarray:
    """RGB canvas, uint8 [150, W, 3] -> the agent's picture, uint8 [80, 80], dark on white.

    Rows from 24 on, full width, mean over area: sampling would skip canvas pixels, so that a
    cactus could move without the picture changing.
    """
    grey = cv2.cvtColor(rgb[TOP:], cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
