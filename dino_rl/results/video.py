"""Videos that open anywhere: H.264, yuv420p, even sizes, the index at the front."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw

from dino_rl.errors import DinoError
from dino_rl.results.output import check_writable

SCALE = 2  # a 600x150 canvas is small on today's screens
MARGIN = 12


class VideoWriter:
    """An mp4 file that grows by a frame at a time.

    Args:
        path: the file; whole only after `close`.
        fps: frames a second.

    Raises:
        DinoError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float):
        if path.suffix != ".mp4":
            raise DinoError(f"{path} is not an .mp4 file: name it so.")
        check_writable(path)
        self._path = path
        self._fps = fps
        self._writer: Generator[None, Any, None] | None = None

    def add(self, frame: np.ndarray):
        """Append uint8 [H, W, 3]; all frames of one size."""
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2  # yuv420p halves both
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            writer = imageio_ffmpeg.write_frames(
                str(self._path),
                (width, height),
                fps=self._fps,
                codec="libx264",
                pix_fmt_out="yuv420p",
                macro_block_size=2,
                output_params=["-crf", "20", "-movflags", "+faststart"],
                ffmpeg_log_level="error",
            )
            writer.send(None)
            self._writer = writer
        self._writer.send(np.ascontiguousarray(frame[:height, :width]))

    def close(self):
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_):
        self.close()


def enlarge(canvas: np.ndarray) -> np.ndarray:
    """The game's canvas, SCALE times as large, its pixels sharp."""
    return np.repeat(np.repeat(canvas, SCALE, axis=0), SCALE, axis=1)


def with_thoughts(
    canvas: np.ndarray,
    picture: np.ndarray,
    values: np.ndarray,
    action: int,
    names: tuple[str, ...],
    score: int,
) -> np.ndarray:
    """The canvas (enlarged) with a strip below: what the network sees, the value of each action, the score.

    Args:
        canvas: uint8 [H, W, 3].
        picture: uint8 [80, 80].
        values: [A].
        action: the index that was taken.
        names: one for each action.
        score: of the game so far.
    """
    game = Image.fromarray(enlarge(canvas))
    eye = Image.fromarray(picture).resize((160, 160), Image.Resampling.NEAREST)
    frame = Image.new("RGB", (game.width, game.height + eye.height + 2 * MARGIN), "white")
    frame.paste(game, (0, 0))
    frame.paste(eye, (MARGIN, game.height + MARGIN))
    draw = ImageDraw.Draw(frame)
    draw.rectangle(
        (MARGIN - 1, game.height + MARGIN - 1, MARGIN + 160, game.height + MARGIN + 160), outline="#bbb"
    )
    left, top = 2 * MARGIN + 170, game.height + MARGIN
    draw.text((left, top), f"score {score}", fill="#333", font_size=22)
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    for i, name in enumerate(names[: len(values)]):
        y = top + 42 + 38 * i
        chosen = i == action
        draw.text((left, y), name, fill="#000" if chosen else "#888", font_size=20)
        length = int(360 * (float(values[i]) - low) / spread)
        draw.rectangle(
            (left + 100, y + 4, left + 102 + length, y + 20), fill="#22aa77" if chosen else "#bbbbbb"
        )
        draw.text((left + 480, y), f"{values[i]:+.3f}", fill="#333", font_size=20)
    return np.asarray(frame)
