"""What an agent for the Dino game observes, what it can do, and what it is rewarded for."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from dino_rl.errors import DinoError

ACTIONS = ("nothing", "jump", "duck")
REWARDS = {  # (for a step survived, for a crash)
    "survival": (0.01, -1.0),  # small steps, so that a value mainly estimates when the next crash comes
    "tutorial": (0.1, -1.0),  # of the tutorials that most people know
}


@dataclass(frozen=True)
class DinoOptions:
    """Options that an agent depends on. The defaults are those of the shipped model, `models/best.h5`."""

    decision_interval_frames: Annotated[int, Interval(ge=1, le=600)] = 2
    """Frames per step; the game runs at 60 frames per second."""
    reward: Literal["survival", "tutorial"] = "survival"
    """"survival": +0.01 for a step survived, -1 for a crash; "tutorial": +0.1 and -1."""
    num_actions: Literal[2, 3] = 3
    """2: nothing, jump; 3: nothing, jump, duck."""
    stack_size: Annotated[int, Interval(ge=1, le=64)] = 4
    """Frames in an observation."""
    stack_stride: Annotated[int, Interval(ge=1, le=64)] = 2
    """Steps from one frame of an observation to the next."""

    def __post_init__(self):
        if self.reward not in REWARDS:
            raise DinoError(f"Unknown reward {self.reward!r}: use one of {', '.join(REWARDS)}.")
        if self.num_actions not in (2, 3):
            raise DinoError(f"num_actions is {self.num_actions}: use 2 (nothing, jump) or 3 (with duck).")
        if min(self.decision_interval_frames, self.stack_size, self.stack_stride) < 1:
            raise DinoError("decision_interval_frames, stack_size and stack_stride must be 1 or more.")
