"""What the page returns after a step: frames for agents, states for statistics."""

from dataclasses import dataclass

import numpy as np

SIZE = 80  # side of an agent's frame, in pixels
SCORE_PER_PIXEL = 0.025  # the game's own factor from distance to score (DistanceMeter)


@dataclass(frozen=True)
class Observation:
    """Frames and states of N games after one step.

    Attributes:
        frames: uint8 [N, 80, 80], dark on white. See `dino_rl.browser.frames`.
        states: float64 [N, F], columns named by `fields`. For statistics only: an agent must not see them.
        fields: the names of the columns, as defined in `game/bridge.js`.
        draws: what each game drew, int16, if it was asked for. See `game/arena.js`.
    """

    frames: np.ndarray
    states: np.ndarray
    fields: tuple[str, ...]
    draws: bytes = b""

    def column(self, field: str) -> np.ndarray:
        """One state field of all games, float64 [N]."""
        return self.states[:, self.fields.index(field)]

    @property
    def scores(self) -> np.ndarray:
        """Scores by the distance, int64 [N]. The digits on the screen wrap; the distance does not."""
        return np.round(np.ceil(self.column("distance")) * SCORE_PER_PIXEL).astype(np.int64)

    @property
    def crashed(self) -> np.ndarray:
        """bool [N]."""
        return self.column("crashed") != 0

    @classmethod
    def from_bytes(cls, data: bytes, count: int, fields: tuple[str, ...]) -> "Observation":
        """Parse an answer of the page: the states of all games, then their frames, then their draws."""
        split = count * len(fields) * 8
        states = np.frombuffer(data, np.float64, count * len(fields)).reshape(count, -1)
        frames = np.frombuffer(data, np.uint8, count * SIZE * SIZE, split).reshape(count, SIZE, SIZE)
        return cls(frames, states, fields, data[split + frames.nbytes :])
