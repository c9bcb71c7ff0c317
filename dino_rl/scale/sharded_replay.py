"""Experience replay in parts, one for each group of environments that steps at its own pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dino_rl.agents.dqn import DQNConfig
from dino_rl.agents.replay import Batch, ReplayBuffer
from dino_rl.spec import ObservationSpec


class ShardedReplay:
    """Several replay buffers that are sampled as one: priorities count across all of them.

    Args:
        shards: buffers with equal configurations.
        rng: decides how many transitions of a minibatch come from each shard.
    """

    def __init__(self, shards: Sequence[ReplayBuffer], rng: np.random.Generator):
        self.shards = list(shards)
        self._rng = rng

    @classmethod
    def for_actors(
        cls,
        config: DQNConfig,
        actors: int,
        num_envs: int,
        observation: ObservationSpec,
        rng: np.random.Generator,
    ) -> ShardedReplay:
        """A shard for each actor, which share the configured capacity.

        Args:
            config: of the agent that learns.
            actors: number of shards.
            num_envs: environments of each actor.
            observation: of one environment.
            rng: drives all sampling.
        """
        share = replace(config.replay, capacity=max(1, config.replay.capacity // actors))
        shards = [
            ReplayBuffer(
                share,
                num_envs,
                observation,
                n_step=config.n_step,
                discount=config.discount,
                rng=rng,
                cut_returns=config.cut_returns,
            )
            for _ in range(actors)
        ]
        return cls(shards, rng)

    def __len__(self) -> int:
        """Frames stored."""
        return sum(map(len, self.shards))

    def sample(self, batch_size: int) -> Batch:
        """Draw a minibatch; its indices count through all shards."""
        bounds = np.cumsum([shard.total_priority for shard in self.shards])
        drawn = (np.arange(batch_size) + self._rng.random(batch_size)) * (bounds[-1] / batch_size)
        # Rounding may point past the last shard that has a priority.
        owner = np.minimum(np.searchsorted(bounds, drawn, side="right"), np.searchsorted(bounds, bounds[-1]))
        counts = np.bincount(owner, minlength=len(self.shards))
        chosen = [i for i, count in enumerate(counts) if count]
        batches = [self.shards[i].sample(int(counts[i])) for i in chosen]
        # Each shard scaled its weights so that its largest is 1: bring them to one scale.
        lowest = np.array(
            [self.shards[i].priorities(batch.indices).min() for i, batch in zip(chosen, batches, strict=True)]
        )
        scale = (lowest.min() / lowest) ** self.shards[0].config.importance_exponent
        batches = [
            batch._replace(
                weight=(batch.weight * factor).astype(np.float32),
                indices=batch.indices * len(self.shards) + i,
            )
            for i, batch, factor in zip(chosen, batches, scale, strict=True)
        ]
        return Batch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))

    def update_priorities(self, indices: np.ndarray, td_error: np.ndarray):
        """Set the priorities of sampled transitions from their TD errors [B]."""
        owner, inner = indices % len(self.shards), indices // len(self.shards)
        for i, shard in enumerate(self.shards):
            if (owner == i).any():
                shard.update_priorities(inner[owner == i], td_error[owner == i])

    def truncate_episodes(self):
        """All episodes of all shards were abandoned without an end."""
        for shard in self.shards:
            shard.truncate_episodes()

    def state(self) -> dict[str, np.ndarray]:
        """Everything that a checkpoint needs to continue exactly, as arrays."""
        return {
            f"{i}_{name}": array
            for i, shard in enumerate(self.shards)
            for name, array in shard.state().items()
        }

    @property
    def max_bytes(self) -> int:
        """Upper limit for the size of `state`."""
        return sum(shard.max_bytes for shard in self.shards)

    def restore(self, state: dict[str, np.ndarray]):
        """Continue from a `state` of as many shards of the same shape."""
        for i, shard in enumerate(self.shards):
            prefix = f"{i}_"
            shard.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
