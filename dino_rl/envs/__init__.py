"""Environments. Importing this package registers `ChromeDino-v0` with Gymnasium."""

import gymnasium

from dino_rl.envs.dino import DinoEnv, DinoVectorEnv
from dino_rl.settings import DINO_ID

gymnasium.register(
    id=DINO_ID,
    entry_point="dino_rl.envs.dino:DinoEnv",
    vector_entry_point="dino_rl.envs.dino:DinoVectorEnv",
)

__all__ = ["DINO_ID", "DinoEnv", "DinoVectorEnv"]
