"""A DQN in PyTorch in the style of CleanRL, from top to bottom: python examples/cleanrl_dqn.py [STEPS]"""

import copy
import sys

import gymnasium
import numpy as np
import torch
from torch import nn

import dino_rl  # noqa: F401 - registers ChromeDino-v0

CAPACITY, BATCH_SIZE, DISCOUNT, TARGET_PERIOD = 20_000, 64, 0.97, 2_000
OPTIONS = {"decision_interval_frames": 4, "num_actions": 2, "autoreset_mode": "SameStep"}


def main(steps: int = 100_000, num_envs: int = 8, learning_starts: int = 4_000, seed: int = 0) -> list[float]:
    """Train. Returns the score of each game that ended."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    pixels = lambda frames: 1 - torch.as_tensor(frames).permute(0, 3, 1, 2) / 255  # noqa: E731
    conv = [nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2)]
    head = [nn.ReLU(), nn.Flatten(), nn.Linear(64 * 3 * 3, 256), nn.ReLU(), nn.Linear(256, 2)]
    q_network = nn.Sequential(*conv, *head)
    target_network = copy.deepcopy(q_network).requires_grad_(False)
    adam = torch.optim.Adam(q_network.parameters(), lr=3e-4)
    envs = gymnasium.make_vec("ChromeDino-v0", num_envs=num_envs, **OPTIONS)
    # Whole arrays: thousands of small ones between PyTorch's large ones would scatter the memory.
    sizes = [(CAPACITY, *envs.single_observation_space.shape)] * 2 + [CAPACITY] * 3
    memory = [np.zeros(size, kind) for size, kind in zip(sizes, ("u1", "u1", int, "f4", bool), strict=True)]
    observations, scores = envs.reset(seed=seed)[0], []
    for step in range(0, steps, num_envs):
        explore = rng.random(num_envs) < max(0.02, 1 - step / (0.3 * steps))
        actions = np.where(explore, rng.random(num_envs) < 0.1, q_network(pixels(observations)).argmax(1))
        next_observations, rewards, terminated, truncated, infos = envs.step(actions)
        last = next_observations.copy()  # an ended game already shows the next one
        for i in np.flatnonzero(terminated | truncated):
            last[i] = infos["final_obs"][i]
            scores.append(float(infos["final_info"]["score"][i]))
        for column, new in zip(memory, (observations, last, actions, rewards, ~terminated), strict=True):
            column[np.arange(step, step + num_envs) % CAPACITY] = new
        observations = next_observations
        if step >= learning_starts:
            rows = rng.integers(min(step + num_envs, CAPACITY), size=BATCH_SIZE)
            seen, after, action, reward, goes_on = (torch.as_tensor(column[rows]) for column in memory)
            target = reward + DISCOUNT * goes_on * target_network(pixels(after)).max(1).values
            q = q_network(pixels(seen)).gather(1, action[:, None])[:, 0]
            adam.zero_grad()
            nn.functional.smooth_l1_loss(q, target).backward()
            adam.step()
        if step % TARGET_PERIOD == 0:
            target_network.load_state_dict(q_network.state_dict())
            print(f"step {step}: mean score of the last 100 games {np.mean(scores[-100:] or [0]):.0f}")
    envs.close()
    return scores


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
