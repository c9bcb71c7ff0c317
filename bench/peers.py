"""Updates per second of this project's DQN and of other projects', in one run on one machine.

    make bench-peers          (or: python bench/peers.py --seconds 20 --json peers.json)

Both sides of a comparison have the same network, batch size and observations (random frames in a full replay
memory), and all cores. Only the update is timed: sampling a batch, the gradient step, and the update of the
target network. The two sides take turns, so that other load on the machine affects both.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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

from dino_rl.agents.dqn import DQNConfig
from dino_rl.agents.networks import NetworkConfig
from dino_rl.benchmark.speed import FILLED, full_learner
from dino_rl.presets import preset
from dino_rl.spec import ObservationSpec

ACTIONS = 3
NUM_ENVS = 16  # whose frames the replay memory holds
TURN_S = 2.0
RECIPE = preset("dino").dqn
assert RECIPE is not None
OURS = replace(RECIPE, batch_size=64, network=replace(RECIPE.network, torso="compact", initial_value=0.0))
# What Stable-Baselines3 and CleanRL have: no double or dueling, single steps, uniform replay, and a target
# network that is copied now and then.
PLAIN = replace(
    OURS,
    network=replace(OURS.network, dueling=False),
    replay=replace(OURS.replay, priority_exponent=0.0, importance_exponent=0.0),
    double=False,
    n_step=1,
    target_update_rate=1.0,
    target_update_period=1_000,
    acting_network="online",
)
PLAIN_NATURE = replace(PLAIN, network=NetworkConfig("nature"), batch_size=32)
CONVOLUTIONS = {  # (filters, kernel, stride), and the width of the dense layer: dino_rl.agents.networks
    "compact": (((16, 8, 4), (32, 4, 2), (64, 3, 2)), 256),
    "nature": (((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512),
}

Update = Callable[[], object]


def ours(config: DQNConfig, size: int) -> Update:
    """One update of this project's DQN on observations of size x size x 4."""
    return full_learner(config, ObservationSpec((size, size, 4), np.dtype(np.uint8)), NUM_ENVS)[2]


def stacks(space: gymnasium.spaces.Box) -> ReplayBuffer:
    """Stable-Baselines3's replay memory, full of random frames."""
    rng = np.random.default_rng(0)
    # This memory stores whole stacks: fewer of them, so that they need no more memory.
    buffer = ReplayBuffer(FILLED // 4, space, gymnasium.spaces.Discrete(ACTIONS), "cpu", 1)
    for _ in range(FILLED // 4):
        observation = rng.integers(0, 256, (1, *space.shape), np.uint8)
        action = rng.integers(0, ACTIONS, (1, 1))
        buffer.add(observation, observation, action, rng.random(1), np.zeros(1), [{}])
    return buffer


def convolutions(network: str, channels: int) -> nn.Sequential:
    """The convolutions of `network`, in torch."""
    layers: list[nn.Module] = []
    for filters, kernel, stride in CONVOLUTIONS[network][0]:
        layers += [nn.Conv2d(channels, filters, kernel, stride), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten())


class Torso(BaseFeaturesExtractor):
    """The convolutions of this project's network of that name, for Stable-Baselines3."""

    def __init__(self, space: gymnasium.spaces.Box, network: str):
        torso = convolutions(network, space.shape[0])
        super().__init__(space, torso(torch.zeros(1, *space.shape)).shape[1])
        self.torso = torso

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.torso(frames)


class _Images(gymnasium.Env):
    """Only its spaces are used; it is never stepped."""

    def __init__(self, size: int):
        self.observation_space = gymnasium.spaces.Box(0, 255, (4, size, size), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)


def stable_baselines3(network: str, batch_size: int, size: int) -> Update:
    """One update of Stable-Baselines3's DQN."""
    env = _Images(size)
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
    """One update as in CleanRL's dqn_atari, with its published hyper-parameters: Nature network, batch 32,
    Adam at 1e-4, mean squared error (https://docs.cleanrl.dev/rl-algorithms/dqn/)."""
    space = _Images(size).observation_space
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
            td_target = batch.rewards.flatten() + 0.99 * value * (1 - batch.dones.flatten())
        q = online(batch.observations / 255.0).gather(1, batch.actions).squeeze()
        loss = nn.functional.mse_loss(td_target, q)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


@dataclass
class Comparison:
    """Two updates that take turns."""

    what: str
    peer: str
    ours: Update
    theirs: Update

    def run(self, seconds: float) -> dict:
        """Updates per second of both, medians over the turns."""
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


def comparisons() -> list[Comparison]:
    """All comparisons that are run."""
    sb3 = f"Stable-Baselines3 {version('stable-baselines3')}"
    return [
        Comparison(
            "plain DQN, compact network, batch 64, 80x80x4",
            sb3,
            ours(PLAIN, 80),
            stable_baselines3("compact", 64, 80),
        ),
        Comparison(
            "plain DQN, Nature network, batch 32, 84x84x4",
            sb3,
            ours(PLAIN_NATURE, 84),
            stable_baselines3("nature", 32, 84),
        ),
        Comparison(
            "plain DQN, Nature network, batch 32, 84x84x4",
            "CleanRL's update",
            ours(PLAIN_NATURE, 84),
            cleanrl(84),
        ),
        Comparison(
            "the recipe dino (double, dueling, 5 steps, prioritized), compact network, batch 64",
            sb3 + ", plain",
            ours(OURS, 80),
            stable_baselines3("compact", 64, 80),
        ),
        Comparison(
            "plain DQN, compact network, batch 64, 80x80x4, dqn.precision=bfloat16",
            sb3,
            ours(replace(PLAIN, precision="bfloat16"), 80),
            stable_baselines3("compact", 64, 80),
        ),
        Comparison(
            "plain DQN, Nature network, batch 32, 84x84x4, dqn.precision=bfloat16",
            sb3,
            ours(replace(PLAIN_NATURE, precision="bfloat16"), 84),
            stable_baselines3("nature", 32, 84),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each side of a comparison")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    table = Table("what", "peer", "ours, updates/s", "theirs", "ratio", title=f"{os.cpu_count()} cores")
    results = []
    for comparison in comparisons():
        result = comparison.run(options.seconds)
        results.append(result)
        rates = (f"{result[name]:.1f}" for name in ("ours", "theirs"))
        table.add_row(result["what"], result["peer"], *rates, f"{result['ratio']:.2f}")
    Console().print(table)
    if options.json:
        packages = {name: version(name) for name in ("tensorflow-cpu", "keras", "torch", "stable-baselines3")}
        text = json.dumps({"comparisons": results, "cores": os.cpu_count(), "versions": packages}, indent=2)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
