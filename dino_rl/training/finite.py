"""Numbers that must be finite: what is wrong is named where it first appears, before it is learned from."""

import numpy as np

from dino_rl.errors import NotFiniteError

LIMIT = float(np.finfo(np.float32).max)  # agents compute with these


def check_step(observation: np.ndarray, reward: np.ndarray) -> None:
    """Refuse what follows a step of N environments, if an agent cannot learn from it.

    Args:
        observation: [N, ...].
        reward: float [N].

    Raises:
        NotFiniteError: an observation or a reward is not finite.
    """
    if not (np.abs(reward) <= LIMIT).all():
        i = int(np.argmin(np.abs(reward) <= LIMIT))  # the first; NaN compares false
        raise NotFiniteError(f"The reward of environment {i} is {reward[i]:g}, which cannot be learned from.")
    check_observation(observation)


def check_observation(observation: np.ndarray) -> None:
    """Refuse observations [N, ...] that are not finite; images always are.

    Raises:
        NotFiniteError: one is not.
    """
    if observation.dtype.kind == "f" and not np.isfinite(observation).all():
        place = np.argwhere(~np.isfinite(observation))[0]
        value = observation[tuple(place)]
        raise NotFiniteError(
            f"The observation of environment {place[0]} is {value:g} at {place[1:].tolist()}, which cannot "
            "be learned from."
        )


def check_return(env: int, value: float) -> None:
    """Refuse the return of an episode in environment `env`, where rewards are not seen one by one.

    Raises:
        NotFiniteError: it is not finite.
    """
    if not abs(value) <= LIMIT:
        raise NotFiniteError(f"The return of environment {env} is {value:g}, which cannot be learned from.")
