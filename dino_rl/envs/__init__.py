"""Environments. `dino_rl/registration.py` registers `ChromeDino-v0` with Gymnasium."""

from typing import TYPE_CHECKING, Any

from dino_rl.envs import dino
from dino_rl.envs.dino import DINO_ID

if TYPE_CHECKING:
    from dino_rl.envs.dino import DinoEnv, DinoVectorEnv

__all__ = ["DINO_ID", "DinoEnv", "DinoVectorEnv"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(dino, name)
