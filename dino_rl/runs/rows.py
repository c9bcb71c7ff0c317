"""Several games one above the other in one picture, each with its label."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from dino_rl.runs.overlay import BACKGROUND, CHOSEN, LINE, MUTED, TEXT, font

ROW_HEIGHT, LABEL_WIDTH, TITLE_HEIGHT, MARGIN = 150, 170, 40, 12
FADED = 0.35  # how much of a canvas is left after its game has ended


@dataclass(frozen=True)
class RowLabel:
    """What stands beside a game."""

    title: str
    """In large letters: who plays."""
    text: str
    """Below it: the score."""
    ended: str = ""
    """How the game ended; "" while it goes on."""


def stack_rows(canvases: Sequence[np.ndarray], labels: Sequence[RowLabel], title: str) -> np.ndarray:
    """The picture, uint8 [H, W, 3].

    Args:
        canvases: uint8 [h, w, 3] each. They may differ in size.
        labels: one for each canvas.
        title: one line above all.
    """
    rows = [_to_row_height(canvas) for canvas in canvases]
    width = LABEL_WIDTH + max(row.shape[1] for row in rows)
    image = Image.new("RGB", (width, TITLE_HEIGHT + ROW_HEIGHT * len(rows)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), title, fill=MUTED, font=font(17))
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = TITLE_HEIGHT + ROW_HEIGHT * i
        if label.ended:
            row = (255 - (255 - row.astype(np.float32)) * FADED).astype(np.uint8)
        image.paste(Image.fromarray(row), (LABEL_WIDTH, top))
        draw.line((0, top, width, top), fill=LINE)
        draw.text((MARGIN, top + 34), label.title, fill=MUTED if label.ended else TEXT, font=font(22))
        draw.text((MARGIN, top + 66), label.text, fill=MUTED if label.ended else CHOSEN, font=font(20))
        draw.text((MARGIN, top + 94), label.ended, fill=MUTED, font=font(16))
    return np.asarray(image)


def _to_row_height(canvas: np.ndarray) -> np.ndarray:
    if canvas.shape[0] == ROW_HEIGHT:
        return canvas
    width = max(1, round(canvas.shape[1] * ROW_HEIGHT / canvas.shape[0]))
    return cv2.resize(canvas, (width, ROW_HEIGHT), interpolation=cv2.INTER_AREA)
