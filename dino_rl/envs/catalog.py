"""An id -> an environment ready for an agent."""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from dino_rl.envs import DinoEnv, DinoVectorEnv
from dino_rl.errors import DinoError
from dino_rl.settings import DINO_ID, EnvSettings, GameSettings, GameVariation


def make_training_env(settings: EnvSettings, watch: bool = False) -> DinoVectorEnv:
    """The environments to learn in: next-step autoreset, drawn seeds, varied games."""
    _check(settings)
    full = GameVariation(
        base=settings.variation.base,
        dino_x=settings.variation.dino_x,
        delay_concentrations=settings.variation.delay_concentrations,
        max_frames=settings.greedy_max_frames,
    )
    varied = settings.num_envs - settings.greedy_envs
    return DinoVectorEnv(
        settings.num_envs,
        game=[settings.variation] * varied + [full] * settings.greedy_envs,
        headless=not watch,
        **_common(settings),
    )


def make_evaluation_env(
    settings: EnvSettings,
    num_envs: int,
    max_score: int | None = None,
    game: GameSettings = GameSettings(),
    headless: bool = True,
) -> DinoVectorEnv:
    """Environments to be measured in: no autoreset, the caller's seeds, the game as it is."""
    _check(settings)
    return DinoVectorEnv(
        num_envs,
        game=game,
        max_score=max_score,
        autoreset_mode=AutoresetMode.DISABLED,
        headless=headless,
        **_common(settings),
    )


def interface(env: gymnasium.vector.VectorEnv) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and dtype of one observation, and the number of actions.

    Raises:
        DinoError: observations are no arrays, or actions are not discrete.
    """
    observation, action = env.single_observation_space, env.single_action_space
    if not isinstance(observation, gymnasium.spaces.Box):
        raise DinoError(f"Observations are {observation}: this project learns from arrays (Box).")
    if not isinstance(action, gymnasium.spaces.Discrete):
        raise DinoError(f"Actions are {action}: this project learns discrete actions.")
    return observation.shape, np.dtype(observation.dtype), int(action.n)


def make_single_env(
    settings: EnvSettings,
    clock: str,
    url: str | None = None,
    max_score: int | None = None,
    headless: bool = True,
    render_mode: str | None = None,
) -> gymnasium.vector.SyncVectorEnv:
    """One game under either clock, as a vector environment of one, for the same loops."""
    _check(settings)

    def make() -> DinoEnv:
        return DinoEnv(
            clock, url, max_score=max_score, headless=headless, render_mode=render_mode, **_common(settings)
        )

    return gymnasium.vector.SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)


def _common(settings: EnvSettings) -> dict:
    return {
        "decision_interval_frames": settings.decision_interval_frames,
        "reward": settings.reward,
        "num_actions": settings.num_actions,
        "stack_size": settings.stack_size,
        "stack_stride": settings.stack_stride,
    }


def _check(settings: EnvSettings):
    if settings.id != DINO_ID:
        raise DinoError(f"Unknown environment {settings.id!r}: use {DINO_ID}.")
