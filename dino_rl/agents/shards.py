"""Experience replay in parts, one for each group of environments that steps at its own pace."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from dino_rl.agents.replay import Batch, Replay


class ShardedReplay:
    """Several `Replay`s that are sampled as one: priorities are weighed over all of them.

    Args:
        shards: alike in all but what they hold.
        rng: decides how many of a minibatch come from each.
    """

    def __init__(self, shards: Sequence[Replay], rng: np.random.Generator):
        self.shards = list(shards)
        self._rng = rng

    def __len__(self) -> int:
        """Frames held."""
        return sum(map(len, self.shards))

    def sample(self, batch_size: int, importance_exponent: float = 0.0) -> Batch:
        """Draw a minibatch; its indices count through all shards."""
        bounds = np.cumsum([shard.total_priority for shard in self.shards])
        drawn = (np.arange(batch_size) + self._rng.random(batch_size)) * (bounds[-1] / batch_size)
        # Rounding may point past the last shard that has a priority.
        owner = np.minimum(np.searchsorted(bounds, drawn, side="right"), np.searchsorted(bounds, bounds[-1]))
        counts = np.bincount(owner, minlength=len(self.shards))
        chosen = [i for i, count in enumerate(counts) if count]
        batches = [self.shards[i].sample(int(counts[i]), importance_exponent) for i in chosen]
        # Each shard made its largest weight 1: put them back on one scale.
        lowest = np.array(
            [self.shards[i].priorities(batch.index).min() for i, batch in zip(chosen, batches, strict=True)]
        )
        scale = (lowest.min() / lowest) ** importance_exponent
        batches = [
            replace(
                batch,
                weight=(batch.weight * factor).astype(np.float32),
                index=batch.index * len(self.shards) + i,
            )
            for i, batch, factor in zip(chosen, batches, scale, strict=True)
        ]
        return Batch(
            **{
                field.name: np.concatenate([getattr(batch, field.name) for batch in batches])
                for field in fields(Batch)
            }
        )

    def update_priorities(self, index: np.ndarray, td_error: np.ndarray):
        """Set priorities of sampled transitions from their TD errors [B]."""
        owner, inner = index % len(self.shards), index // len(self.shards)
        for i, shard in enumerate(self.shards):
            if (owner == i).any():
                shard.update_priorities(inner[owner == i], td_error[owner == i])

    def break_off(self):
        """All episodes stop here without an end."""
        for shard in self.shards:
            shard.break_off()

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on as if nothing had happened, as arrays."""
        return {
            f"{i}_{name}": array
            for i, shard in enumerate(self.shards)
            for name, array in shard.state().items()
        }

    def restore(self, state: dict[str, np.ndarray]):
        """Take over a `state` of as many shards of the same shape."""
        for i, shard in enumerate(self.shards):
            prefix = f"{i}_"
            shard.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
