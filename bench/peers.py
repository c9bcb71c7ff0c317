"""Updates a second of this project's learner beside those of others, in one run on one machine.

    make bench-peers          (or: python bench/peers.py --seconds 20 --json peers.json)

Each pair has the same network, batch and observations (random pictures in a full replay memory), and all
cores. Only the update is timed: sampling a batch, the gradient step, and what keeps the target network.
The pairs take turns, so that whatever else the machine does hits both.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3 import DQN as SB3DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from dino_rl.benchmark import FILLED, full_learner
from dino_rl.settings import DQNSettings, EnvSettings, RunSettings

ACTIONS = 3
TURN_S = 2.0
# What Stable-Baselines3 and CleanRL have: no double or dueling, single steps, uniform replay, a target
# network copied now and then.
PLAIN = {
    "double": False,
    "dueling": False,
    "n_step": 1,
    "priority_exponent": 0.0,
    "importance_exponent": 0.0,
    "target_update_rate": 1.0,
    "target_update_period": 1_000,
}
CONVOLUTIONS = {  # (filters, kernel, stride), and the width of the dense layer: dino_rl.agents.networks
    "compact": (((16, 8, 4), (32, 4, 2), (64, 3, 2)), 256),
    "nature": (((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512),
}

Update = Callable[[], object]


def ours(settings: DQNSettings, size: int) -> Update:
    """One update of dino_rl's learner on pictures of size x size x 4."""
    return full_learner(RunSettings(env=EnvSettings(stack_stride=1), dqn=settings), size)[2]


def stacks(space: gymnasium.spaces.Box) -> ReplayBuffer:
    """Stable-Baselines3's replay memory, full of random pictures."""
    rng = np.random.default_rng(0)
    # A stack for each transition, as this memory keeps them: fewer, so that it stays in bounds.
    buffer = ReplayBuffer(FILLED // 4, space, gymnasium.spaces.Discrete(ACTIONS), "cpu", 1)
    for _ in range(FILLED // 4):
        observation = rng.integers(0, 256, (1, *space.shape), np.uint8)
        action = rng.integers(0, ACTIONS, (1, 1))
        buffer.add(observation, observation, action, rng.random(1), np.zeros(1), [{}])
    return buffer


def convolutions(network: str, channels: int) -> nn.Sequential:
    """The torso of `network`, in torch."""
    layers: list[nn.Module] = []
    for filters, kernel, stride in CONVOLUTIONS[network][0]:
        layers += [nn.Conv2d(channels, filters, kernel, stride), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten())


class Torso(BaseFeaturesExtractor):
    """The convolutions of dino_rl's network of that name, for Stable-Baselines3."""

    def __init__(self, space: gymnasium.spaces.Box, network: str):
        torso = convolutions(network, space.shape[0])
        super().__init__(space, torso(torch.zeros(1, *space.shape)).shape[1])
        self.torso = torso

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.torso(pictures)


class _Pictures(gymnasium.Env):
    """The spaces; it is never stepped."""

    def __init__(self, size: int):
        self.observation_space = gymnasium.spaces.Box(0, 255, (4, size, size), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)


def stable_baselines3(network: str, batch_size: int, size: int) -> Update:
    """One update of Stable-Baselines3's DQN."""
    env = _Pictures(size)
    model = SB3DQN(
        "CnnPolicy",
        env,
        buffer_size=1,  # replaced below
        batch_size=batch_size,
        policy_kwargs={
            "features_extractor_class": Torso,
            "features_extractor_kwargs": {"network": network},
            "net_arch": [CONVOLUTIONS[network][1]],
        },
        device="cpu",
    )
    model.replay_buffer = stacks(env.observation_space)
    model.set_logger(configure(None, []))
    return lambda: model.train(gradient_steps=1, batch_size=batch_size)


def cleanrl(size: int) -> Update:
    """One update in the shape of CleanRL's dqn_atari, with its published settings: Nature network, batch 32,
    Adam at 1e-4, mean squared error (https://docs.cleanrl.dev/rl-algorithms/dqn/)."""
    space = _Pictures(size).observation_space
    width = CONVOLUTIONS["nature"][1]

    def network() -> nn.Sequential:
        torso = convolutions("nature", 4)
        features = torso(torch.zeros(1, *space.shape)).shape[1]
        return nn.Sequential(torso, nn.Linear(features, width), nn.ReLU(), nn.Linear(width, ACTIONS))

    online, target, buffer = network(), network(), stacks(space)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-4)

    def update():
        batch = buffer.sample(32)
        with torch.no_grad():
            value = target(batch.next_observations / 255.0).max(dim=1).values
            goal = batch.rewards.flatten() + 0.99 * value * (1 - batch.dones.flatten())
        q = online(batch.observations / 255.0).gather(1, batch.actions).squeeze()
        loss = nn.functional.mse_loss(goal, q)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


@dataclass
class Contest:
    """Two learners that take turns."""

    what: str
    peer: str
    ours: Update
    theirs: Update

    def run(self, seconds: float) -> dict:
        """Updates a second of both, medians over the turns."""
        sides = {"ours": self.ours, "theirs": self.theirs}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for update in sides.values():
            for _ in range(3):
                update()
        for _ in range(max(1, round(seconds / TURN_S))):
            for name, update in sides.items():
                count, started = 0, time.perf_counter()
                while (elapsed := time.perf_counter() - started) < TURN_S:
                    update()
                    count += 1
                rates[name].append(count / elapsed)
        median = {name: float(np.median(values)) for name, values in rates.items()}
        return {"what": self.what, "peer": self.peer, **median, "ratio": median["ours"] / median["theirs"]}


def contests() -> list[Contest]:
    """Those that are run."""
    sb3 = f"Stable-Baselines3 {version('stable-baselines3')}"
    nature = DQNSettings(**PLAIN, network="nature", batch_size=32)
    return [
        Contest(
            "plain DQN, compact network, batch 64, 80x80x4",
            sb3,
            ours(DQNSettings(**PLAIN), 80),
            stable_baselines3("compact", 64, 80),
        ),
        Contest(
            "plain DQN, Nature network, batch 32, 84x84x4",
            sb3,
            ours(nature, 84),
            stable_baselines3("nature", 32, 84),
        ),
        Contest(
            "plain DQN, Nature network, batch 32, 84x84x4",
            "CleanRL's shape",
            ours(nature, 84),
            cleanrl(84),
        ),
        Contest(
            "ours as it trains (double, dueling, 10 steps, prioritized), compact, batch 64",
            sb3 + ", plain",
            ours(DQNSettings(), 80),
            stable_baselines3("compact", 64, 80),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each side of each pair")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    table = Table("what", "peer", "ours, updates/s", "theirs", "ratio", title=f"{os.cpu_count()} cores")
    results = []
    for contest in contests():
        result = contest.run(options.seconds)
        results.append(result)
        rates = (f"{result[name]:.1f}" for name in ("ours", "theirs"))
        table.add_row(result["what"], result["peer"], *rates, f"{result['ratio']:.2f}")
    Console().print(table)
    if options.json:
        packages = {name: version(name) for name in ("tensorflow-cpu", "keras", "torch", "stable-baselines3")}
        text = json.dumps({"contests": results, "cores": os.cpu_count(), "versions": packages}, indent=2)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
