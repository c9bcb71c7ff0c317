"""Environments. Importing this package registers `ChromeDino-v0` with Gymnasium."""

import gymnasium

from dino_rl.envs.dino import DinoEnv, DinoVectorEnv

DINO_ID = "ChromeDino-v0"

gymnasium.register(
    id=DINO_ID,
    entry_point="dino_rl.envs.dino:DinoEnv",
    vector_entry_point="dino_rl.envs.dino:DinoVectorEnv",
)

__all__ = ["DINO_ID", "DinoEnv", "DinoVectorEnv"]
