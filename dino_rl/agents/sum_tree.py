"""The sum tree of prioritized experience replay (Schaul et al. 2016, https://arxiv.org/abs/1511.05952)."""

import numpy as np


class SumTree:
    """Priorities of `size` items, drawn in proportion. All operations are vectorized over the items and take
    log(size) steps."""

    def __init__(self, size: int):
        self._leaves = 1 << max(1, (size - 1).bit_length())
        self._nodes = np.zeros(2 * self._leaves, np.float64)  # node i is the sum of nodes 2i and 2i + 1

    @property
    def total(self) -> float:
        return float(self._nodes[1])

    def get(self, index: np.ndarray) -> np.ndarray:
        """Priorities of items, float64."""
        return self._nodes[self._leaves + index]

    def set(self, index: np.ndarray, priority: np.ndarray | float):
        """Set the priorities of items. If an index occurs more than once, its last priority counts."""
        node = self._leaves + np.asarray(index)
        self._nodes[node] = priority
        while node[0] > 1:
            node = node >> 1  # may contain a parent twice, which is cheaper than finding out
            self._nodes[node] = self._nodes[2 * node] + self._nodes[2 * node + 1]

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw `count` items, int64, one from each of `count` equal parts of the total."""
        left = (np.arange(count) + rng.random(count)) * (self.total / count)
        node = np.ones(count, np.int64)
        while node[0] < self._leaves:
            node *= 2
            skip = left >= self._nodes[node]
            # Rounding may point past the last item that has a priority: do not go where the sum is 0.
            skip &= self._nodes[node + 1] > 0
            left -= np.where(skip, self._nodes[node], 0.0)
            node += skip
        return node - self._leaves
