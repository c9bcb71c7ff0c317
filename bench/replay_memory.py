"""The cost of a compressed replay memory: the same steps in a plain and in a compressed one.

    python bench/replay_memory.py --frames 100000 --model models/best.h5

The frames are those of a trained player in training games. Random frames do not compress, and the frames of
random play compress too well.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from dino_rl.agents.dqn import DQN
from dino_rl.agents.replay import ReplayBuffer
from dino_rl.envs.registry import make_task
from dino_rl.player import KerasPlayer, Player
from dino_rl.presets import preset

RECIPES = {"plain": preset("dino"), "compressed": preset("dino-million")}  # of the two kinds of memory
SAMPLES = 300


def empty_buffers(frames: int) -> dict[str, ReplayBuffer]:
    """A replay buffer of each recipe, for fewer frames."""
    buffers = {}
    for name, config in RECIPES.items():
        assert config.dqn is not None
        buffers[name] = ReplayBuffer(
            replace(config.dqn.replay, capacity=frames),
            config.env.num_envs,
            make_task(config.env).spec.observation,
            n_step=config.dqn.n_step,
            discount=config.dqn.discount,
            rng=np.random.default_rng(0),
            cut_returns=config.dqn.cut_returns,
        )
    return buffers


def fill(buffers: dict[str, ReplayBuffer], player: Player, frames: int) -> dict[str, float]:
    """Play this many frames; return the seconds that each buffer needed to add them."""
    config = RECIPES["plain"].env
    added_s = dict.fromkeys(buffers, 0.0)
    env = make_task(config).make_training_env()
    try:
        observation, _ = env.reset(seed=0)
        first, last = np.ones(config.num_envs, bool), np.zeros(config.num_envs, bool)
        for _ in range(frames // config.num_envs):
            actions = player.act(observation)
            next_observation, rewards, terminated, truncated, _ = env.step(actions)
            step = (observation[..., -1], first, actions, rewards, terminated, truncated)
            for name, buffer in buffers.items():
                added_s[name] += seconds(lambda: buffer.add(*step))  # noqa: B023
            # Next-step autoreset: after the end of an episode comes the first observation of another.
            observation, first, last = next_observation, last, terminated | truncated
    finally:
        env.close()
    return added_s


def seconds(work: Callable[[], object]) -> float:
    """The duration of a call."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--model", type=Path, default=Path("models/best.h5"), help="the player")
    options = parser.parse_args()
    buffers = empty_buffers(options.frames)
    added_s = fill(buffers, KerasPlayer(options.model), options.frames)
    config, spec = RECIPES["plain"].dqn, make_task(RECIPES["plain"].env).spec
    assert config is not None
    dqn = DQN(config, spec.observation, spec.num_actions)
    batch = buffers["plain"].sample(config.batch_size)
    dqn.update(batch, config.learning_rate)  # compiles
    times: dict[str, list[float]] = {name: [] for name in (*buffers, "update")}
    for _ in range(SAMPLES):
        for name, buffer in buffers.items():
            times[name].append(seconds(lambda: buffer.sample(config.batch_size)))  # noqa: B023
        times["update"].append(seconds(lambda: dqn.update(batch, config.learning_rate)))
    ms = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    frame_bytes = {
        "plain": np.prod(spec.observation.frame_shape),
        "compressed": buffers["compressed"].state()["_frame_lengths"].mean(),
    }
    table = Table(
        "memory",
        "bytes per frame",
        "us to add one",
        f"ms to sample {config.batch_size}",
        "share of an update",
    )
    for name in buffers:
        table.add_row(
            name,
            f"{frame_bytes[name]:.0f}",
            f"{1e6 * added_s[name] / options.frames:.0f}",
            f"{ms[name]:.2f}",
            f"{100 * ms[name] / (ms[name] + ms['update']):.0f} %",
        )
    console = Console()
    console.print(table)
    console.print(f"{options.frames:,} frames; the gradient step alone: {ms['update']:.1f} ms")


if __name__ == "__main__":
    main()
