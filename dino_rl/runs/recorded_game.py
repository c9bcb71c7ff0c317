"""A recorded game: its seed, its settings and its actions, from which it can be replayed exactly."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.errors import DinoError
from dino_rl.runs.input import read_json
from dino_rl.runs.output import reason, write_text

FORMAT = "dino-rl game 1"
MAX_ACTIONS = 20_000_000  # four days of play; a file of some kB can unpack to much more
MAX_INTERVAL_FRAMES = 600
MAX_ACTION = 2  # duck
PLAIN_FIELDS = {
    "seed": int,
    "settings": dict,
    "decision_interval_frames": int,
    "browser": str,
    "score": int,
    "capped": bool,
}


@dataclass(frozen=True)
class RecordedGame:
    """One lock-step game.

    Attributes:
        seed, decision_interval_frames: what the game was started with.
        settings: the game's settings as plain data.
        browser: name and version. Another version may play another game from the same seed.
        score: at the end.
        capped: the game ended at the maximum score, not by a crash.
        actions: int64 [steps]: 0 nothing, 1 jump, 2 duck.
    """

    seed: int
    settings: dict[str, Any]
    decision_interval_frames: int
    browser: str
    score: int
    capped: bool
    actions: np.ndarray

    def save(self, path: Path):
        """Write a JSON file. Actions are compressed: a game of 20,000 points takes some KB.

        Raises:
            RunError: it cannot be written.
        """
        packed = b64encode(zlib.compress(self.actions.astype(np.uint8).tobytes(), 9)).decode()
        data = {"format": FORMAT, **asdict(self), "actions": packed}
        write_text(path, json.dumps(data) + "\n")

    @classmethod
    def load(cls, path: Path) -> "RecordedGame":
        """Read a file that `save` wrote.

        Raises:
            DinoError: the file is missing, or is not a recorded game.
        """
        try:
            data = read_json(path)
            if data.pop("format") != FORMAT:
                raise ValueError("another format")
            data["actions"] = _unpack(data["actions"])
            for name, kind in PLAIN_FIELDS.items():
                if type(data[name]) is not kind:
                    raise TypeError(f"{name} is {data[name]!r}")
            if not 0 <= data["seed"] < 2**32:
                raise ValueError(f"seed is {data['seed']}")
            if not 1 <= data["decision_interval_frames"] <= MAX_INTERVAL_FRAMES:
                raise ValueError(f"decision_interval_frames is {data['decision_interval_frames']}")
            return cls(**data)
        except FileNotFoundError as error:
            raise DinoError(f"No game at {path}: evaluate --save-replays DIR writes some.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise DinoError(f"{path} is not a recorded game ({reason(error)}).") from error


def _unpack(packed: str) -> np.ndarray:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(b64decode(packed), MAX_ACTIONS)
    if not unpacker.eof:
        raise ValueError(f"the actions are cut, or more than {MAX_ACTIONS:,}")
    actions = np.frombuffer(data, np.uint8).astype(int)
    if (actions > MAX_ACTION).any():
        raise ValueError(f"an action is {actions.max()}")
    return actions
