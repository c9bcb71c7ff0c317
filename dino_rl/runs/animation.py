"""Small animated pictures of grayscale frames."""

import io

import numpy as np
from PIL import Image


def encode_gif(frames: np.ndarray, fps: float) -> bytes:
    """An animated GIF that repeats forever.

    Args:
        frames: uint8 [T, H, W], grayscale, T > 0.
        fps: frames per second. The format counts hundredths of a second.
    """
    first, *rest = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return file.getvalue()
