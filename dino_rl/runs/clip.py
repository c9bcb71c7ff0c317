"""The end of a game as an agent saw it: frames to watch, and some whole observations."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_rl.errors import RunError
from dino_rl.runs.animation import encode_gif
from dino_rl.runs.output import reason, whole_file
from dino_rl.runs.untrusted import check_zip

MAX_BYTES = 64 * 2**20  # unpacked


@dataclass(frozen=True)
class Clip:
    """Some frames of a game, at the speed of the game."""

    frames: np.ndarray
    """uint8 [T, H, W], grayscale."""
    fps: float
    """Frames per second."""
    observations: np.ndarray
    """uint8 [K, H, W, stack], of moments in the same time."""

    def to_gif(self) -> bytes:
        """An animated GIF."""
        return encode_gif(self.frames, self.fps)

    def save(self, path: Path):
        """Write an .npz file.

        Raises:
            RunError: it cannot be written.
        """
        with whole_file(path) as part, part.open("wb") as file:
            np.savez_compressed(file, frames=self.frames, fps=self.fps, observations=self.observations)

    @classmethod
    def load(cls, path: Path) -> "Clip | None":
        """Read a file that `save` wrote; None if there is none.

        Raises:
            RunError: it is damaged.
        """
        if not path.exists():
            return None
        try:
            check_zip(path, MAX_BYTES)
            with np.load(path, allow_pickle=False) as arrays:
                clip = cls(arrays["frames"], float(arrays["fps"]), arrays["observations"])
            for array, sides in ((clip.frames, 3), (clip.observations, 4)):
                if array.dtype != np.uint8 or array.ndim != sides or not array.size:
                    raise ValueError(f"an array of {array.dtype} with the shape {array.shape}")
            if not 0 < clip.fps <= 1000:
                raise ValueError(f"{clip.fps} frames per second")
            return clip
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            EOFError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            raise RunError(f"{path} is damaged ({reason(error)}): delete it.") from error
