"""A random agent, the loop that every agent has: python examples/random_agent.py [STEPS]"""

import sys

import gymnasium
import numpy as np

import dino_rl  # noqa: F401 - registers ChromeDino-v0


def main(steps: int = 2000, num_envs: int = 8, seed: int = 0) -> list[float]:
    """Play for some steps of all games together. Returns the score of each game that ended."""
    envs = gymnasium.make_vec("ChromeDino-v0", num_envs=num_envs)
    scores: list[float] = []
    try:
        _observations, infos = envs.reset(seed=seed)  # uint8 [num_envs, 80, 80, 4]
        envs.action_space.seed(seed)
        for _ in range(0, steps, num_envs):
            actions = envs.action_space.sample()
            _observations, _rewards, terminated, truncated, infos = envs.step(actions)
            # An ended game starts again in the next step, whose action and reward do not count.
            scores += infos["score"][terminated | truncated].tolist()
    finally:
        envs.close()
    print(f"{len(scores)} games, mean score {np.mean(scores) if scores else 0:.0f}")
    return scores


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
