"""A panel beside the game that shows an agent's decision: what it sees, and the value of each action."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 16
FRAME_SIDE = 160  # of the network's newest frame on the panel
TITLE_HEIGHT, SCORE_HEIGHT, ROW_HEIGHT, CAPTION_HEIGHT = 24, 44, 28, 22
NAME_WIDTH, VALUE_WIDTH, BAR_WIDTH = 118, 84, 420
SIDE_WIDTH = 400  # of a panel on the right of a tall canvas

Q_VALUES, PROBABILITIES = "Q-values", "probabilities"
BACKGROUND, LINE = "#ffffff", "#d0d7de"
TEXT, MUTED, CHOSEN, OTHER = "#1f2328", "#6e7781", "#1a7f64", "#c9d1d9"


@dataclass(frozen=True)
class PanelLabels:
    """What stays the same on a panel during a game."""

    title: str
    """Who plays, in words."""
    actions: tuple[str, ...]
    """A name for each action."""
    values_are: str = Q_VALUES
    """Q_VALUES or PROBABILITIES."""


@dataclass(frozen=True)
class Decision:
    """What a panel shows of one step."""

    score: str
    """Of the game so far, in words."""
    action: int
    """Index of the chosen action."""
    values: np.ndarray | None = None
    """Float [A], of each action; None for players without values."""
    frame: np.ndarray | None = None
    """Uint8 [H, W], the newest frame of the observation; None for vectors."""


def with_panel(canvases: Sequence[np.ndarray], labels: PanelLabels, decision: Decision) -> list[np.ndarray]:
    """The canvases of one step with a panel: below wide ones (such as the Dino's), on the right of others.

    Args:
        canvases: uint8 [H, W, 3], all of one size.
        labels, decision: what the panel shows.
    """
    if not canvases:
        return []
    height, width = canvases[0].shape[:2]
    text_height = TITLE_HEIGHT + SCORE_HEIGHT + ROW_HEIGHT * len(labels.actions)
    frame_height = FRAME_SIDE + CAPTION_HEIGHT if decision.frame is not None else 0
    if width > 2 * height:
        size = (width, max(frame_height, text_height) + 2 * MARGIN)
        panel = _panel(labels, decision, size, on_the_right=False)
        return [np.concatenate([canvas, panel]) for canvas in canvases]
    needed = 2 * MARGIN + text_height + (frame_height + MARGIN if frame_height else 0)
    panel = _panel(labels, decision, (SIDE_WIDTH, max(height, needed)), on_the_right=True)
    below = np.full((len(panel) - height, width, 3), 255, np.uint8)
    return [np.concatenate([np.concatenate([canvas, below]), panel], axis=1) for canvas in canvases]


def _panel(labels: PanelLabels, decision: Decision, size: tuple[int, int], on_the_right: bool) -> np.ndarray:
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, 0, size[1]) if on_the_right else (0, 0, size[0], 0), fill=LINE)
    left = top = MARGIN
    if decision.frame is not None:
        frame = Image.fromarray(decision.frame).resize((FRAME_SIDE, FRAME_SIDE), Image.Resampling.NEAREST)
        image.paste(frame, (left, top))
        draw.rectangle((left - 1, top - 1, left + FRAME_SIDE, top + FRAME_SIDE), outline=LINE)
        draw.text((left, top + FRAME_SIDE + 4), "what the network sees", fill=MUTED, font=font(14))
        if on_the_right:
            top += FRAME_SIDE + CAPTION_HEIGHT + MARGIN
        else:
            left += FRAME_SIDE + 2 * MARGIN
    draw.text((left, top), labels.title, fill=MUTED, font=font(16))
    draw.text((left, top + TITLE_HEIGHT), decision.score, fill=TEXT, font=font(26))
    _draw_actions(draw, labels, decision, left, top + TITLE_HEIGHT + SCORE_HEIGHT, size[0] - MARGIN)
    return np.asarray(image)


def _draw_actions(
    draw: ImageDraw.ImageDraw, labels: PanelLabels, decision: Decision, left: int, top: int, right: int
):
    """A row for each action: its name, a bar and its value. Without values, only the chosen one has a bar."""
    start = left + NAME_WIDTH
    end = min(right - VALUE_WIDTH, start + BAR_WIDTH)
    shares = np.arange(len(labels.actions)) == decision.action
    if decision.values is not None:
        shares = decision.values
        if labels.values_are == Q_VALUES:
            # The best action has a full bar, the worst an empty one: only differences of Q-values matter.
            shares = (shares - shares.min()) / (np.ptp(shares) or 1.0)
        draw.text((end + 12, top - 20), labels.values_are, fill=MUTED, font=font(14))
    for i, name in enumerate(labels.actions):
        y = top + ROW_HEIGHT * i
        chosen = i == decision.action
        draw.text((left, y), name, fill=CHOSEN if chosen else MUTED, font=font(18))
        bar = (start, y + 4, start + 3 + (end - start - 3) * float(shares[i]), y + 18)
        draw.rectangle(bar, fill=CHOSEN if chosen else OTHER)
        if decision.values is not None:
            value = round(float(decision.values[i]), 3) + 0.0  # no minus before a zero
            draw.text((end + 12, y), f"{value:.3f}", fill=TEXT, font=font(18))


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, cached: Pillow unpacks it at each call."""
    return ImageFont.load_default(size)
