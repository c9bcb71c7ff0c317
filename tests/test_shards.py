"""Replay in shards: sampled as if it were one."""

import numpy as np
import pytest

from dino_rl.agents.replay import Replay
from dino_rl.agents.shards import ShardedReplay

N_STEP, DISCOUNT = 2, 0.9


def filled(shards: int, steps: int, exponent: float = 0.0, seed: int = 0) -> ShardedReplay:
    """Shards of two environments; a frame is the number of its shard, environment and time."""
    rng = np.random.default_rng(seed)
    parts = [
        Replay(400, 2, (1,), np.dtype(np.float32), 0, 1, N_STEP, DISCOUNT, exponent, rng)
        for _ in range(shards)
    ]
    nobody = np.zeros(2, bool)
    for shard, part in enumerate(parts):
        for time in range(steps):
            frame = np.array([[1000 * shard + time], [1000 * shard + 500 + time]], np.float32)
            part.add(frame, nobody if time else ~nobody, np.array([0, 1]), np.ones(2), nobody, nobody, nobody)
    return ShardedReplay(parts, rng)


def shard_of(observation: np.ndarray) -> np.ndarray:
    return (observation[:, 0] // 1000).astype(int)


def test_transitions_of_all_shards_come_in_proportion():
    replay = filled(3, 40)
    assert len(replay) == 3 * 2 * 40
    batch = replay.sample(3000)
    counts = np.bincount(shard_of(batch.observation), minlength=3)
    assert counts == pytest.approx([1000] * 3, abs=5)  # stratified
    # No transition leaves its shard or its environment.
    np.testing.assert_array_equal(batch.next_observation - batch.observation, np.full((3000, 1), N_STEP))
    np.testing.assert_allclose(batch.reward, 1 + DISCOUNT)


def test_priorities_and_weights_are_those_of_one_memory():
    replay = filled(2, 40, exponent=1.0)
    batch = replay.sample(400)
    # The second shard is wrong by 3 times as much.
    error = np.where(shard_of(batch.observation) == 1, 3.0, 1.0)
    for _ in range(20):
        replay.update_priorities(batch.index, np.where(shard_of(batch.observation) == 1, 3.0, 1.0))
        batch = replay.sample(400)
    error = np.where(shard_of(batch.observation) == 1, 3.0, 1.0)
    replay.update_priorities(batch.index, error)
    share = np.mean(shard_of(replay.sample(4000).observation))
    assert share == pytest.approx(0.75, abs=0.01)
    batch = replay.sample(1000, importance_exponent=0.5)
    wrong = shard_of(batch.observation) == 1
    np.testing.assert_allclose(batch.weight[~wrong], 1.0, rtol=1e-3)
    np.testing.assert_allclose(batch.weight[wrong], 3.0**-0.5, rtol=1e-3)


def test_an_empty_shard_is_passed_over():
    replay = filled(2, 40)
    replay.shards.insert(0, filled(1, 1).shards[0])
    replay.shards.append(filled(1, 1).shards[0])
    batch = replay.sample(64)
    assert set(batch.index % 4) == {1, 2}


def test_a_state_brings_all_shards_back():
    replay = filled(2, 40, exponent=1.0)
    batch = replay.sample(64)
    replay.update_priorities(batch.index, np.linspace(0.1, 5, 64))
    other = filled(2, 3, exponent=1.0)
    other.restore(replay.state())
    assert len(other) == len(replay)
    for mine, theirs in zip(replay.shards, other.shards, strict=True):
        for name, array in mine.state().items():
            np.testing.assert_array_equal(array, theirs.state()[name])
