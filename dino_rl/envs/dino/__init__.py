"""Chrome's Dino game as Gymnasium environments.

The environments are imported at their first use, because they need selenium: configuration loads without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dino_rl.envs.dino.options import ACTIONS
from dino_rl.envs.dino.variation import DINO_ID

if TYPE_CHECKING:
    from dino_rl.envs.dino.env import DinoEnv, DinoVectorEnv

__all__ = ["ACTIONS", "DINO_ID", "DinoEnv", "DinoVectorEnv"]


def __getattr__(name: str) -> Any:
    if name not in ("DinoEnv", "DinoVectorEnv"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("dino_rl.envs.dino.env"), name)
