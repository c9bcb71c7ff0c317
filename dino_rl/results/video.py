"""Videos that open anywhere: H.264, yuv420p, even sizes, the index at the front."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np

from dino_rl.errors import DinoError
from dino_rl.results.output import check_writable

ROOM = (480, 1280)  # rows and columns that a small picture may be enlarged to


def check_film(path: Path):
    """Refuse a film that could not be written at the end of a game. Nothing is created.

    Raises:
        DinoError: it is no .mp4 file, or lies where nothing can be written.
    """
    if path.suffix != ".mp4":
        raise DinoError(f"{path} is not an .mp4 file: name it so.")
    check_writable(path)


class VideoWriter:
    """An mp4 file that grows by a frame at a time.

    Args:
        path: the file; it appears, whole, at `close`. One that is there stays until then.
        fps: frames a second.

    Raises:
        DinoError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float):
        check_film(path)
        self._path = path
        self._part = path.with_name("part-" + path.name)
        self._fps = fps
        self._shape: tuple[int, ...] = ()
        self._writer: Generator[None, Any, None] | None = None

    def add(self, frame: np.ndarray):
        """Append uint8 [H, W, 3]; all frames of one size. An odd row or column at the edge is left out."""
        if self._writer is None:
            self._shape = frame.shape
            self._writer = self._start(frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)
        if frame.shape != self._shape:
            raise ValueError(f"A frame of {frame.shape} in a film of {self._shape}.")
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2  # yuv420p halves both
        try:
            self._writer.send(np.ascontiguousarray(frame[:height, :width]))
        except OSError as error:
            raise DinoError(f"Cannot write {self._path}: is the disk full?") from error

    def _start(self, width: int, height: int) -> Generator[None, Any, None]:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        writer = imageio_ffmpeg.write_frames(
            str(self._part),
            (width, height),
            fps=self._fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            output_params=["-crf", "20", "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        writer.send(None)
        return writer

    def close(self):
        """Finish the file; no file if there was no frame."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        try:
            self._part.replace(self._path)
        except OSError as error:
            raise DinoError(f"Cannot write {self._path} ({error.strerror}).") from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_):
        self.close()


def enlarge(canvas: np.ndarray) -> np.ndarray:
    """A picture as many times as large as fits into ROOM, its pixels sharp; a large one as it is."""
    times = max(1, min(room // side for room, side in zip(ROOM, canvas.shape[:2], strict=True)))
    size = canvas.shape[1] * times, canvas.shape[0] * times
    return cv2.resize(canvas, size, interpolation=cv2.INTER_NEAREST)
