"""What a compressed replay memory costs: the same play in a memory of either kind, sampled by turns.

    python bench/replay_memory.py --frames 100000 --model models/best.h5

The pictures are those of a trained player in the games of training: random ones would not compress, those of
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

from dino_rl.agents.dqn import DQN, make_replay
from dino_rl.agents.replay import Replay
from dino_rl.envs.catalog import make_training_env
from dino_rl.results.model import Model
from dino_rl.settings import PRESETS

KINDS = {"plain": "dino", "compressed": "dino-million"}  # of memory, by preset
SAMPLES = 300


def empty(preset: str, frames: int, shape: tuple[int, ...]) -> Replay:
    """A replay memory as the preset has it, for fewer frames."""
    settings = PRESETS[preset]
    settings = replace(settings, dqn=replace(settings.dqn, replay_capacity=frames))
    rng = np.random.default_rng(0)
    return make_replay(settings, settings.env.num_envs, 1.0, shape, np.dtype(np.uint8), rng)


def fill(memories: list[Replay], model: Model, frames: int) -> list[float]:
    """Play until each memory has taken in so many frames; return the seconds that each needed for that."""
    settings = PRESETS[KINDS["plain"]].env
    taken_s = [0.0] * len(memories)
    env = make_training_env(settings)
    try:
        observation, _ = env.reset(seed=0)
        first = np.ones(settings.num_envs, bool)
        for _ in range(frames // settings.num_envs):
            actions = model.act(observation)
            following, rewards, terminated, truncated, _ = env.step(actions)
            for number, memory in enumerate(memories):
                step = (observation[..., -1], first, actions, rewards, terminated, truncated)
                taken_s[number] += seconds(lambda: memory.add(*step))  # noqa: B023
            first, observation = terminated | truncated, following
    finally:
        env.close()
    return taken_s


def seconds(work: Callable[[], object]) -> float:
    """How long it took."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--model", type=Path, default=Path("models/best.h5"), help="the player")
    options = parser.parse_args()
    model = Model(options.model)
    settings = PRESETS[KINDS["plain"]].dqn
    shape = tuple(model.card["observation_shape"])
    memories = [empty(preset, options.frames, shape) for preset in KINDS.values()]
    taken_s = fill(memories, model, options.frames)
    agent = DQN(settings, shape, 3)
    batch = memories[0].sample(settings.batch_size, settings.importance_exponent)
    agent.update(batch, settings.learning_rate)  # compiles
    times: dict[str, list[float]] = {name: [] for name in (*KINDS, "update")}
    for _ in range(SAMPLES):
        for name, memory in zip(KINDS, memories, strict=True):
            times[name].append(
                seconds(lambda: memory.sample(settings.batch_size, settings.importance_exponent))  # noqa: B023
            )
        times["update"].append(seconds(lambda: agent.update(batch, settings.learning_rate)))
    ms = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    packed = memories[1].state()["_frame_lengths"].mean()
    table = Table(
        "memory",
        "bytes a frame",
        "us to take one in",
        f"ms to sample {settings.batch_size}",
        "share of an update",
    )
    for name, size, taken in zip(KINDS, (np.prod(shape[:2]), packed), taken_s, strict=True):
        share = ms[name] / (ms[name] + ms["update"])
        table.add_row(
            name,
            f"{size:.0f}",
            f"{1e6 * taken / options.frames:.0f}",
            f"{ms[name]:.2f}",
            f"{100 * share:.0f} %",
        )
    console = Console()
    console.print(table)
    console.print(f"{options.frames:,} frames; the gradient step itself: {ms['update']:.1f} ms")


if __name__ == "__main__":
    main()
