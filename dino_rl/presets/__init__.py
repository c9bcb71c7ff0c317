"""Recipes by name, one file per family. Loading them loads no TensorFlow and no browser."""

import difflib
from dataclasses import replace
from functools import cache
from importlib import import_module

from dino_rl.envs.gym.make import spec_of
from dino_rl.envs.registry import kind_of
from dino_rl.errors import DinoError
from dino_rl.scale.config import ActorsConfig
from dino_rl.train_config import ENGINES, TrainConfig

FAMILIES = ("dino", "classic_control", "atari", "rllib")


@cache
def recipes() -> dict[str, TrainConfig]:
    """All recipes by name. The first one of an environment, an engine and an algorithm is its default."""
    found: dict[str, TrainConfig] = {}
    for family in FAMILIES:
        found |= import_module(f"dino_rl.presets.{family}").RECIPES
    return found


def preset(name: str) -> TrainConfig:
    """The recipe of that name.

    Raises:
        DinoError: there is none.
    """
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}."
        raise DinoError(f"Unknown preset {name!r}: {hint}")
    return known[name]


def default_for(env_id: str, algo: str = "dqn", engine: str = "keras") -> TrainConfig:
    """The recipe of an environment; of one that has none of its own, that of its kind of observation.

    Raises:
        DinoError: the environment is unknown or not installed, or nothing here learns it so.
    """
    if algo not in ENGINES[engine]:
        raise DinoError(f"--engine {engine} has no {algo}: use {' or '.join(ENGINES[engine])}.")
    for config in recipes().values():
        if (config.env.id, config.engine, config.algo) == (env_id, _recipes_of(engine), algo):
            return with_engine(config, engine)
    kind = kind_of(env_id)
    for name, config in recipes().items():
        if name.startswith(kind) and (config.engine, config.algo) == (_recipes_of(engine), algo):
            threshold = spec_of(env_id).reward_threshold
            config = replace(
                config,
                env=replace(config.env, id=env_id),  # type: ignore[arg-type]
                run=replace(config.run, stop_return=threshold),
            )
            return with_engine(config, engine)
    raise DinoError(
        f"{env_id} has {kind} as observations, which are not for --algo {algo} --engine {engine}: "
        "use --algo dqn --engine keras."
    )


def with_engine(config: TrainConfig, engine: str) -> TrainConfig:
    """The same recipe in one process, or with actors on Ray."""
    actors = ActorsConfig() if engine == "ray" else None
    return replace(config, engine=engine, actors=actors)  # type: ignore[arg-type]


def _recipes_of(engine: str) -> str:
    """Actors on Ray use the recipes of one process."""
    return "keras" if engine == "ray" else engine
