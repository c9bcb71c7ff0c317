"""An id -> an environment ready for an agent, and the settings to learn it with."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from dino_rl.envs import DinoEnv, DinoVectorEnv, standard
from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import DinoError
from dino_rl.settings import (
    DINO_FIELDS,
    DINO_ID,
    ENGINES,
    PRESETS,
    EnvSettings,
    GameSettings,
    GameVariation,
    RunSettings,
)


@dataclass(frozen=True)
class Interface:
    """What an agent needs to know of an environment, and what a model says that it was made for.

    Attributes:
        observation_shape: of one observation; images as [H, W, stack], newest last.
        dtype: of observations.
        actions: a name for each.
        watched: fields of `info` whose values at an episode's start and end are kept.
        picture: how an image was made; None for vectors.
        versions: of what the environment consists of.
    """

    observation_shape: tuple[int, ...]
    dtype: np.dtype
    actions: tuple[str, ...]
    watched: tuple[str, ...] = ()
    picture: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        return len(self.observation_shape) == 3


def default_settings(env_id: str, algorithm: str = "dqn", engine: str = "keras") -> RunSettings:
    """The preset of an environment; for one that has none, that of its kind of observation.

    Raises:
        DinoError: unknown, not installed, or of a kind that nothing here learns.
    """
    if algorithm not in ENGINES[engine]:
        raise DinoError(f"--engine {engine} has no {algorithm}: use {' or '.join(ENGINES[engine])}.")
    presets_of = "keras" if engine == "ray" else engine
    for settings in PRESETS.values():
        if (settings.env.id, settings.engine, settings.algorithm) == (env_id, presets_of, algorithm):
            return replace(settings, engine=engine)
    if env_id == DINO_ID:
        raise DinoError(f"{DINO_ID} is not for --algo {algorithm}: use --algo dqn.")
    kind = standard.kind_of(env_id)
    for name, settings in PRESETS.items():
        if name.startswith(kind) and (settings.engine, settings.algorithm) == (presets_of, algorithm):
            return replace(
                settings,
                engine=engine,
                env=replace(settings.env, id=env_id),
                stop_return=standard.spec_of(env_id).reward_threshold,
            )
    raise DinoError(
        f"{env_id} shows {kind}, which are not for --algo {algorithm} --engine {engine}: "
        "use --algo dqn --engine keras."
    )


def make_training_env(settings: EnvSettings, watch: bool = False) -> gymnasium.vector.VectorEnv:
    """The environments to learn in: next-step autoreset, drawn seeds, varied games."""
    if settings.id != DINO_ID:
        mode = "human" if watch else None
        return standard.make_vector(settings, settings.num_envs, AutoresetMode.NEXT_STEP, mode, training=True)
    full = settings.variation.as_live(settings.variation.base, settings.greedy_max_frames)
    varied = settings.num_envs - settings.greedy_envs
    return DinoVectorEnv(
        settings.num_envs,
        game=[settings.variation] * varied + [full] * settings.greedy_envs,
        headless=not watch,
        **_dino_options(settings),
    )


def make_evaluation_env(
    settings: EnvSettings,
    num_envs: int,
    max_score: int | None = None,
    game: GameSettings | GameVariation = GameSettings(),
    headless: bool = True,
) -> gymnasium.vector.VectorEnv:
    """Environments to be measured in: no autoreset, the caller's seeds, the game as it is.

    `max_score`, `game` and `headless` are the Dino's.
    """
    if settings.id != DINO_ID:
        return standard.make_vector(settings, num_envs, AutoresetMode.DISABLED)
    return DinoVectorEnv(
        num_envs,
        game=game,
        max_score=max_score,
        autoreset_mode=AutoresetMode.DISABLED,
        headless=headless,
        **_dino_options(settings),
    )


def make_evaluation_envs(
    settings: EnvSettings,
    num_envs: int,
    max_score: int | None = None,
    games: tuple[GameSettings | GameVariation, GameSettings | GameVariation] = (GameSettings(),) * 2,
) -> Iterator[gymnasium.vector.VectorEnv]:
    """The same for `play_side_by_side`: of the Dino two, each with one half of `games`, whose browsers take
    turns with the network; of others one."""
    if settings.id != DINO_ID:
        yield make_evaluation_env(settings, num_envs)
        return
    for share, game in zip((num_envs - num_envs // 2, num_envs // 2), games, strict=True):
        if share:
            yield make_evaluation_env(settings, share, max_score, game)


def make_single_env(
    settings: EnvSettings,
    clock: str = "lockstep",
    url: str | None = None,
    max_score: int | None = None,
    headless: bool = True,
    render_mode: str | None = None,
) -> gymnasium.vector.SyncVectorEnv:
    """One environment, as a vector environment of one, for the same loops.

    `clock`, `url`, `max_score` and `headless` are the Dino's; the others have a window with
    `render_mode="human"`, and pictures to film with "rgb_array".
    """
    if settings.id != DINO_ID:
        return standard.make_vector(settings, 1, AutoresetMode.DISABLED, render_mode)

    def make() -> DinoEnv:
        return DinoEnv(
            clock,
            url,
            max_score=max_score,
            headless=headless,
            render_mode=render_mode,
            **_dino_options(settings),
        )

    return gymnasium.vector.SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)


def interface(env: gymnasium.vector.VectorEnv, settings: EnvSettings) -> Interface:
    """What an agent needs to know of an environment that was made here."""
    observation = env.single_observation_space
    shape, dtype = observation.shape, np.dtype(observation.dtype)
    if settings.id == DINO_ID:
        return Interface(
            shape,  # type: ignore[arg-type]
            dtype,
            ACTIONS[: int(env.single_action_space.n)],  # type: ignore[attr-defined]
            watched=("speed",),
            picture="canvas rows 24-150, on white, area mean to 80x80 grey, newest of the stack last",
            versions={"browser": env.get_attr("browser_name")[0]},  # type: ignore[attr-defined]
        )
    is_image = len(shape) == 3  # type: ignore[arg-type]
    size = settings.picture_size
    return Interface(
        shape,  # type: ignore[arg-type]
        dtype,
        standard.action_names(env, settings.id),  # type: ignore[arg-type]
        picture=f"area mean to {size}x{size} grey, newest of the stack last" if is_image else None,
        versions=standard.versions(settings.id),
    )


def show(env: gymnasium.vector.VectorEnv, lane: int, values: np.ndarray, action: int, title: str):
    """Show a person, from the next step on, what the agent makes of one environment.

    The Dino's window has room for it; the windows of others show the environment alone.
    """
    if isinstance(env, DinoVectorEnv):
        env.think_aloud(lane, values.tolist(), int(action), title)


def used_settings(settings: EnvSettings) -> dict:
    """The settings that count for an environment, as plain data: the Dino's own are left out of others'."""
    every = asdict(settings)
    if settings.id == DINO_ID:
        return every
    return {name: value for name, value in every.items() if name not in DINO_FIELDS}


def _dino_options(settings: EnvSettings) -> dict:
    return {
        "decision_interval_frames": settings.decision_interval_frames,
        "reward": settings.reward,
        "num_actions": settings.num_actions,
        "stack_size": settings.stack_size,
        "stack_stride": settings.stack_stride,
    }
