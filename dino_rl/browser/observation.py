"""What leaves the page after a step: pictures for agents, state for statistics."""

from dataclasses import dataclass

import numpy as np

from dino_rl.browser.frames import SIZE

SCORE_PER_PIXEL = 0.025  # the game's own factor from distance to score (DistanceMeter)


@dataclass(frozen=True)
class Observation:
    """Pictures and states of N games after one step.

    Attributes:
        pictures: uint8 [N, 80, 80].
        states: float64 [N, F], columns named by `fields`. For statistics only: nothing of it may reach
            an agent.
        fields: the names of the columns, as `game/bridge.js` gives them.
    """

    pictures: np.ndarray
    states: np.ndarray
    fields: tuple[str, ...]

    def column(self, field: str) -> np.ndarray:
        """One state field of all games, float64 [N]."""
        return self.states[:, self.fields.index(field)]

    @property
    def scores(self) -> np.ndarray:
        """Scores from the distance, int64 [N]. The digits on the screen wrap; the distance does not."""
        return np.round(np.ceil(self.column("distance")) * SCORE_PER_PIXEL).astype(np.int64)

    @property
    def crashed(self) -> np.ndarray:
        """bool [N]."""
        return self.column("crashed") != 0

    @classmethod
    def from_bytes(cls, data: bytes, count: int, fields: tuple[str, ...]) -> "Observation":
        """Parse what the page sends: states of all games, then their pictures."""
        split = count * len(fields) * 8
        states = np.frombuffer(data, np.float64, count * len(fields)).reshape(count, -1)
        pictures = np.frombuffer(data, np.uint8, offset=split).reshape(count, SIZE, SIZE)
        return cls(pictures, states, fields)
