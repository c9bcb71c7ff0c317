"""Which kind of task an environment is, by its id."""

from collections.abc import Mapping
from typing import Any

from dino_rl.envs.dino.task import DinoConfig, DinoTask
from dino_rl.envs.dino.variation import DINO_ID
from dino_rl.envs.gym import make
from dino_rl.envs.gym.make import GymConfig
from dino_rl.envs.gym.task import GymTask
from dino_rl.envs.task import Task

EnvConfig = DinoConfig | GymConfig
_KINDS: dict[type, type[Task]] = {DinoConfig: DinoTask, GymConfig: GymTask}


def env_config_class(env_id: str) -> type[DinoConfig] | type[GymConfig]:
    """The class of an environment's configuration."""
    return DinoConfig if env_id == DINO_ID else GymConfig


def env_config_class_of(data: Mapping[str, Any]) -> type[DinoConfig] | type[GymConfig]:
    """The class that plain data of an environment's configuration is for."""
    return env_config_class(str(data.get("id", DINO_ID)))


def kind_of(env_id: str) -> str:
    """The kind of an environment's observations: "vectors" or "images".

    Raises:
        DinoError: the environment is unknown or not installed, or no agent here can learn it.
    """
    return "images" if env_id == DINO_ID else make.kind_of(env_id)


def make_task(config: EnvConfig) -> Task:
    """The task that an environment's configuration describes."""
    return _KINDS[type(config)](config)
