"""Videos that every player opens, and animations for web pages and READMEs."""

import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from dino_rl.errors import RunError
from dino_rl.runs.output import cannot_write, check_writable, make_directory, whole_file

# What ffmpeg writes, by the suffix of the file. Videos are H.264 in yuv420p with the index at the front;
# animations are smaller and slower, for pages that show no videos.
FORMATS = {
    ".mp4": "-c:v libx264 -crf 20 -pix_fmt yuv420p -movflags +faststart",
    ".webp": "-vf {scaled} -c:v libwebp -quality {quality} -compression_level 6 -loop 0",
    ".gif": "-vf {scaled},split[a][b];[a]palettegen[p];[b][p]paletteuse -loop 0",
}
MAX_ENLARGED = (480, 1280)  # rows and columns up to which a small canvas is enlarged


@dataclass(frozen=True)
class Animation:
    """How large animations are; videos have the size and the rate of their frames."""

    fps: int = 20
    """Frames per second, at most those of the video."""
    width: int = 640
    """Pixels."""
    quality: int = 60
    """Of WebP, 0 to 100."""

    def options(self, suffix: str) -> str:
        """Of ffmpeg, for a format."""
        scaled = f"fps={self.fps},scale={self.width}:-2:flags=area"
        return FORMATS[suffix].format(scaled=scaled, quality=self.quality)


def check_video(path: Path):
    """Refuse a video that could not be written at the end of a game. Nothing is created.

    Raises:
        RunError: it is not of a format in `FORMATS`, or is in a place where nothing can be written.
    """
    if path.suffix not in FORMATS:
        raise RunError(f"Cannot write {path}: name a file that ends with {', '.join(FORMATS)}.")
    check_writable(path)


class VideoWriter:
    """A video that grows frame by frame.

    Args:
        path: the file. It appears, complete, at `close`; a file that exists stays until then.
        fps: frames per second.
        animation: size of an animation.

    Raises:
        RunError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, animation: Animation = Animation()):
        check_video(path)
        self._path = path
        self._fps = fps
        self._options = animation.options(path.suffix)
        self._shape: tuple[int, ...] = ()
        self._ffmpeg: subprocess.Popen | None = None
        self._file = ExitStack()

    def add(self, frame: np.ndarray):
        """Append a frame.

        Args:
            frame: uint8 [H, W, 3]; all frames have the same size. An odd last row or column is left out.

        Raises:
            RunError: the file cannot be written.
        """
        height, width = (side // 2 * 2 for side in frame.shape[:2])  # yuv420p halves both
        if self._ffmpeg is None:
            self._shape = frame.shape
            self._ffmpeg = self._start(width, height)
        if frame.shape != self._shape:
            raise ValueError(f"A frame of shape {frame.shape} in a video of {self._shape}.")
        assert self._ffmpeg.stdin
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frame[:height, :width]).data)
        except OSError as error:  # ffmpeg has ended: `close` knows why
            self.close()
            raise cannot_write(self._path, error) from error

    def _start(self, width: int, height: int) -> subprocess.Popen:
        make_directory(self._path.parent)
        part = self._file.enter_context(whole_file(self._path))
        source = (
            f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {Fraction(self._fps).limit_denominator()}"
        )
        target = f"-an {self._options}"
        return subprocess.Popen(
            [
                imageio_ffmpeg.get_ffmpeg_exe(),
                *f"-y -v error {source} -i - {target}".split(),
                str(part),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C is for this process, which finishes the file.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def close(self):
        """Finish the file; there is no file without a frame.

        Raises:
            RunError: the file cannot be written. A previous file is unchanged.
        """
        if self._ffmpeg is None:
            return
        ffmpeg, self._ffmpeg = self._ffmpeg, None
        assert ffmpeg.stdin
        assert ffmpeg.stderr
        with self._file:
            with suppress(BrokenPipeError):
                ffmpeg.stdin.close()
            messages = ffmpeg.stderr.read().decode(errors="replace").strip()
            ffmpeg.stderr.close()
            if ffmpeg.wait():
                raise OSError(messages.splitlines()[-1] if messages else "ffmpeg failed")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_):
        self.close()


def enlarge(canvas: np.ndarray) -> np.ndarray:
    """Multiply the size of a small canvas by the largest whole number that fits into MAX_ENLARGED, with sharp
    pixels. A large canvas is returned as it is.

    Args:
        canvas: uint8 [H, W, 3].
    """
    factor = max(1, min(limit // side for limit, side in zip(MAX_ENLARGED, canvas.shape[:2], strict=True)))
    size = canvas.shape[1] * factor, canvas.shape[0] * factor
    return cv2.resize(canvas, size, interpolation=cv2.INTER_NEAREST)
