"""The algorithms that there are, by name."""

import numpy as np

from dino_rl.agents.cem import CEM, policy_network
from dino_rl.agents.dqn import DQNLearner, q_network
from dino_rl.agents.learner import Learner
from dino_rl.backend import keras
from dino_rl.errors import DinoError
from dino_rl.settings import RunSettings


def make_learner(
    settings: RunSettings,
    observation_shape: tuple[int, ...],
    dtype: np.dtype,
    num_actions: int,
    rngs: dict[str, np.random.Generator],
) -> Learner:
    """The algorithm that the settings name.

    Args:
        settings: of the run.
        observation_shape, dtype: of one observation; images as [H, W, stack], newest last.
        num_actions: size of the discrete action space.
        rngs: "explore" drives the actions, "replay" what is learned from.

    Raises:
        DinoError: there is none of that name, or it does not learn from such observations.
    """
    if settings.algorithm == "dqn":
        return DQNLearner(settings, observation_shape, dtype, num_actions, rngs)
    if settings.algorithm == "cem":
        return CEM(settings, observation_shape, num_actions, rngs)
    raise _unknown(settings.algorithm)


def make_network(settings: RunSettings, observation_shape: tuple[int, ...], num_actions: int) -> keras.Model:
    """The untrained network of the algorithm that the settings name: observations [B, ...] -> [B, A].

    Raises:
        DinoError: there is none of that name, or it does not learn from such observations.
    """
    if settings.algorithm == "dqn":
        return q_network(settings.dqn, observation_shape, num_actions)
    if settings.algorithm == "cem":
        return policy_network(settings.cem, observation_shape, num_actions)
    raise _unknown(settings.algorithm)


def play_epsilon(settings: RunSettings) -> float:
    """Share of random actions of a finished agent."""
    return settings.dqn.epsilon_play if settings.algorithm == "dqn" else 0.0


def _unknown(name: str) -> DinoError:
    return DinoError(f"Unknown algorithm {name!r}: use dqn or cem.")
