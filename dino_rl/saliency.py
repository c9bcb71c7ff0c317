"""What a network looks at: the parts of an image whose loss changes its outputs most.

After Greydanus et al. 2018, "Visualizing and Understanding Atari Agents" (https://arxiv.org/abs/1711.00138):
a small part of the image is blurred, and the change of the outputs is the part's saliency.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

MASK_SIGMA = 5.0  # of the blurred part, in pixels, as in the paper
BLUR_SIGMA = 3.0  # of the blur, in pixels, as in the paper
STRIDE = 5  # from one part to the next, in pixels, as in the paper


def saliency(
    network: Callable[[np.ndarray], np.ndarray], observations: np.ndarray, stride: int = STRIDE
) -> np.ndarray:
    """Saliency maps of observations. One of 80x80 pixels costs 257 forward passes, in one batch.

    Args:
        network: observations [B, H, W, stack] to values [B, A]: a Keras network, or `Player.values`.
        observations: uint8 [N, H, W, stack].
        stride: from one part to the next, in pixels. 8 needs 101 forward passes.

    Returns:
        float32 [N, H, W]: for each pixel, half of the squared change of all values when its surroundings are
        blurred in all frames of the stack (equation 2 of the paper). 0 where nothing changes; no upper limit.
    """
    return np.stack([_map(network, each, stride) for each in observations])


def _map(network: Callable[[np.ndarray], np.ndarray], observation: np.ndarray, stride: int) -> np.ndarray:
    height, width, stack = observation.shape
    masks, grid = _masks(height, width, stride)
    image = observation.astype(np.float32)
    # OpenCV drops the last axis of a stack of one.
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA).reshape(height, width, stack)
    perturbed = np.rint(image + masks[..., None] * (blurred - image)).astype(observation.dtype)
    values = np.asarray(network(np.concatenate([observation[None], perturbed])), np.float32)
    scores = 0.5 * ((values[1:] - values[0]) ** 2).sum(axis=1)
    return cv2.resize(scores.reshape(grid), (width, height), interpolation=cv2.INTER_CUBIC).clip(0)


@lru_cache(maxsize=4)
def _masks(height: int, width: int, stride: int) -> tuple[np.ndarray, tuple[int, int]]:
    """float32 [K, H, W], 1 in the middle of each part; and the grid of the middles, (rows, columns)."""
    rows, columns = (np.arange((stride - 1) / 2, side, stride) for side in (height, width))
    y, x = np.mgrid[:height, :width]
    middles = [(row, column) for row in rows for column in columns]
    square = np.array([(y - row) ** 2 + (x - column) ** 2 for row, column in middles], np.float32)
    return np.exp(-square / (2 * MASK_SIGMA**2)), (len(rows), len(columns))
