"""A game on file: its seed, its settings and its actions are the game."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dino_rl.errors import DinoError
from dino_rl.results.output import write_text
from dino_rl.settings import GameSettings, from_dict

FORMAT = "dino-rl game 1"


@dataclass(frozen=True)
class Replay:
    """One lock-step game.

    Attributes:
        seed, settings, decision_interval_frames: what the game was started with.
        browser: browser and version; another version's game may differ.
        score: what it ended with.
        capped: it was ended at the cap, not by a crash.
        actions: int64 [steps].
    """

    seed: int
    settings: GameSettings
    decision_interval_frames: int
    browser: str
    score: int
    capped: bool
    actions: np.ndarray

    def save(self, path: Path):
        """Write it as JSON; the actions compressed (a game of 20,000 points takes some KB)."""
        packed = b64encode(zlib.compress(self.actions.astype(np.uint8).tobytes(), 9)).decode()
        data = {"format": FORMAT, **asdict(self), "actions": packed}
        write_text(path, json.dumps(data) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Replay":
        """Read a file that `save` wrote.

        Raises:
            DinoError: it is missing, or no such file.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise ValueError("another format")
            data["actions"] = np.frombuffer(zlib.decompress(b64decode(data["actions"])), np.uint8).astype(int)
            return from_dict(cls, data)
        except FileNotFoundError as error:
            raise DinoError(f"No game at {path}: evaluate --save-replays DIR writes some.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise DinoError(f"{path} is not a game of this project ({error}).") from error
