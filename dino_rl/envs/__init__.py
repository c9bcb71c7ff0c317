"""Environments. Importing this package registers `ChromeDino-v0` with Gymnasium."""

from typing import TYPE_CHECKING, Any

import gymnasium

from dino_rl.envs import dino
from dino_rl.envs.dino import DINO_ID

if TYPE_CHECKING:
    from dino_rl.envs.dino import DinoEnv, DinoVectorEnv

gymnasium.register(
    id=DINO_ID,
    entry_point="dino_rl.envs.dino.env:DinoEnv",
    vector_entry_point="dino_rl.envs.dino.env:DinoVectorEnv",
)

__all__ = ["DINO_ID", "DinoEnv", "DinoVectorEnv"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(dino, name)
