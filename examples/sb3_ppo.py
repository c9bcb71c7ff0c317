"""PPO of Stable-Baselines3, on many games in one page: python examples/sb3_ppo.py [STEPS]"""

import sys

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs.sb3 import SB3VecEnv


class Scores(BaseCallback):
    """Keeps the score of each game that ended."""

    def __init__(self):
        super().__init__()
        self.scores: list[float] = []

    def _on_step(self) -> bool:
        ended = [info["score"] for info in self.locals["infos"] if "episode" in info]
        self.scores += ended
        return True


def main(steps: int = 150_000, num_envs: int = 16, n_steps: int = 128, seed: int = 0) -> list[float]:
    """Train. Returns the score of each game that ended."""
    # Obstacles come at once: the usual three seconds without one teach nothing.
    game = GameSettings(clear_time_ms=300.0)
    env = VecMonitor(SB3VecEnv("ChromeDino-v0", num_envs, decision_interval_frames=4, game=game))
    hyperparameters = {"n_steps": n_steps, "batch_size": 256, "n_epochs": 4, "gamma": 0.97, "ent_coef": 0.01}
    model = PPO("CnnPolicy", env, learning_rate=5e-4, seed=seed, verbose=1, **hyperparameters)
    with torch.no_grad():  # a jump lasts for half a second: an agent that jumps all the time sees little
        model.policy.action_net.bias.copy_(torch.tensor([0.85, 0.1, 0.05]).log())
    scores = Scores()
    try:
        model.learn(steps, callback=scores)
    finally:
        env.close()
    first, last = scores.scores[:100], scores.scores[-100:]
    print(f"mean score of the first 100 games {np.mean(first):.0f}, of the last 100 {np.mean(last):.0f}")
    return scores.scores


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
