"""What is known of a task without starting it: shapes of observations, names of actions, seeds to draw."""

from dataclasses import dataclass

import numpy as np

# Seeds that a caller gives are below this, seeds that training and environments draw are above: a game of an
# evaluation never occurs in training.
DRAWN_SEEDS_FROM = 2**31


@dataclass(frozen=True)
class ObservationSpec:
    """One observation of one environment.

    Attributes:
        shape: vectors as [n], images as [H, W, stack] with the newest frame last.
        dtype: uint8 for images, float32 for vectors.
        stack_stride: decisions from one frame of a stack to the next; 1 for vectors.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    stack_stride: int = 1

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame of a stack; of a vector, its own shape."""
        return self.shape[:2] if self.is_image else self.shape

    @property
    def stack_size(self) -> int:
        """Frames in an observation; 0 for vectors, which are not stacked."""
        return self.shape[-1] if self.is_image else 0


@dataclass(frozen=True)
class TaskSpec:
    """What a model card says of the task that a model was trained for.

    Attributes:
        observation: of one environment.
        actions: a name for each action.
        info_keys: keys of `info` whose values at an episode's start and end are logged.
        ending_keys: keys of `info` that say how an episode ended; logged of the games of validations.
        frame: how a frame is made, in words; None for vectors.
        score: what a game's result is called: "score" where `info` reports one, else "return".
    """

    observation: ObservationSpec
    actions: tuple[str, ...]
    info_keys: tuple[str, ...] = ()
    ending_keys: tuple[str, ...] = ()
    frame: str | None = None
    score: str = "return"

    @property
    def num_actions(self) -> int:
        return len(self.actions)
