"""What an agent makes of what it sees, drawn beside the game."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 16
EYE = 160  # side of the network's picture on the screen
TITLE_HEIGHT, SCORE_HEIGHT, ROW_HEIGHT, CAPTION_HEIGHT = 24, 44, 28, 22
NAME_WIDTH, VALUE_WIDTH, BAR_WIDTH = 118, 84, 420
SIDE_WIDTH = 400  # of a panel that stands beside a tall picture

Q_VALUES, PROBABILITIES = "Q-values", "probabilities"
BACKGROUND, LINE = "#ffffff", "#d0d7de"
TEXT, MUTED, CHOSEN, OTHER = "#1f2328", "#6e7781", "#1a7f64", "#c9d1d9"


@dataclass(frozen=True)
class Player:
    """Whose thoughts are shown.

    Attributes:
        title: who plays, in words.
        actions: a name for each action.
        values_are: Q_VALUES or PROBABILITIES.
    """

    title: str
    actions: tuple[str, ...]
    values_are: str = Q_VALUES


@dataclass(frozen=True)
class Thoughts:
    """One decision.

    Attributes:
        score: of the game so far, in words.
        action: the index that was taken.
        values: float [A], of each action; None of a player that has none.
        picture: uint8 [H, W], the newest that the network sees; None of one that sees numbers.
    """

    score: str
    action: int
    values: np.ndarray | None = None
    picture: np.ndarray | None = None


def with_thoughts(canvases: Sequence[np.ndarray], player: Player, thoughts: Thoughts) -> list[np.ndarray]:
    """The pictures of one step with a panel: below wide ones (the Dino's), on the right of others.

    Args:
        canvases: uint8 [H, W, 3], all of one size.
        player, thoughts: what the panel shows.
    """
    if not canvases:
        return []
    height, width = canvases[0].shape[:2]
    text_height = TITLE_HEIGHT + SCORE_HEIGHT + ROW_HEIGHT * len(player.actions)
    eye_height = EYE + CAPTION_HEIGHT if thoughts.picture is not None else 0
    if width > 2 * height:
        panel = _panel(player, thoughts, (width, max(eye_height, text_height) + 2 * MARGIN), beside=False)
        return [np.concatenate([canvas, panel]) for canvas in canvases]
    needed = 2 * MARGIN + text_height + (eye_height + MARGIN if eye_height else 0)
    panel = _panel(player, thoughts, (SIDE_WIDTH, max(height, needed)), beside=True)
    below = np.full((len(panel) - height, width, 3), 255, np.uint8)
    return [np.concatenate([np.concatenate([canvas, below]), panel], axis=1) for canvas in canvases]


def _panel(player: Player, thoughts: Thoughts, size: tuple[int, int], beside: bool) -> np.ndarray:
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, 0, size[1]) if beside else (0, 0, size[0], 0), fill=LINE)
    left = top = MARGIN
    if thoughts.picture is not None:
        eye = Image.fromarray(thoughts.picture).resize((EYE, EYE), Image.Resampling.NEAREST)
        image.paste(eye, (left, top))
        draw.rectangle((left - 1, top - 1, left + EYE, top + EYE), outline=LINE)
        draw.text((left, top + EYE + 4), "what the network sees", fill=MUTED, font=_font(14))
        if beside:
            top += EYE + CAPTION_HEIGHT + MARGIN
        else:
            left += EYE + 2 * MARGIN
    draw.text((left, top), player.title, fill=MUTED, font=_font(16))
    draw.text((left, top + TITLE_HEIGHT), thoughts.score, fill=TEXT, font=_font(26))
    _draw_actions(draw, player, thoughts, left, top + TITLE_HEIGHT + SCORE_HEIGHT, size[0] - MARGIN)
    return np.asarray(image)


def _draw_actions(
    draw: ImageDraw.ImageDraw, player: Player, thoughts: Thoughts, left: int, top: int, right: int
):
    """A line for each action: its name, a bar, its value. Without values, the action taken has the bar."""
    start = left + NAME_WIDTH
    end = min(right - VALUE_WIDTH, start + BAR_WIDTH)
    shares = np.arange(len(player.actions)) == thoughts.action
    if thoughts.values is not None:
        shares = thoughts.values
        if player.values_are == Q_VALUES:
            # The best action's bar is full and the worst one's empty: what counts is the difference.
            shares = (shares - shares.min()) / (np.ptp(shares) or 1.0)
        draw.text((end + 12, top - 20), player.values_are, fill=MUTED, font=_font(14))
    for i, name in enumerate(player.actions):
        y = top + ROW_HEIGHT * i
        chosen = i == thoughts.action
        draw.text((left, y), name, fill=CHOSEN if chosen else MUTED, font=_font(18))
        bar = (start, y + 4, start + 3 + (end - start - 3) * float(shares[i]), y + 18)
        draw.rectangle(bar, fill=CHOSEN if chosen else OTHER)
        if thoughts.values is not None:
            value = round(float(thoughts.values[i]), 3) + 0.0  # no minus before a zero
            draw.text((end + 12, y), f"{value:.3f}", fill=TEXT, font=_font(18))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, kept: it is unpacked each time that it is asked for."""
    return ImageFont.load_default(size)
