"""Several replay buffers, sampled as one."""

import numpy as np
import pytest

from dino_rl.agents.dqn import DQNConfig
from dino_rl.agents.replay import ReplayConfig
from dino_rl.scale.sharded_replay import ShardedReplay
from dino_rl.spec import ObservationSpec

N_STEP, DISCOUNT = 2, 0.9
NUMBER = ObservationSpec((1,), np.dtype(np.float32))


def filled(
    shards: int, steps: int, exponent: float = 0.0, importance: float = 0.0, seed: int = 0
) -> ShardedReplay:
    """Shards of two environments; a frame is the number of its shard, environment and time."""
    config = DQNConfig(
        replay=ReplayConfig(400 * shards, priority_exponent=exponent, importance_exponent=importance),
        n_step=N_STEP,
        discount=DISCOUNT,
    )
    replay = ShardedReplay.for_actors(config, shards, 2, NUMBER, np.random.default_rng(seed))
    nobody = np.zeros(2, bool)
    for shard, part in enumerate(replay.shards):
        for time in range(steps):
            frame = np.array([[1000 * shard + time], [1000 * shard + 500 + time]], np.float32)
            part.add(frame, nobody if time else ~nobody, np.array([0, 1]), np.ones(2), nobody, nobody, nobody)
    return replay


def shard_of(observation: np.ndarray) -> np.ndarray:
    return (observation[:, 0] // 1000).astype(int)


def test_all_shards_are_sampled_in_proportion():
    replay = filled(3, 40)
    assert len(replay) == 3 * 2 * 40
    batch = replay.sample(3000)
    counts = np.bincount(shard_of(batch.observation), minlength=3)
    assert counts == pytest.approx([1000] * 3, abs=5)  # stratified
    # No transition leaves its shard or its environment.
    np.testing.assert_array_equal(batch.next_observation - batch.observation, np.full((3000, 1), N_STEP))
    np.testing.assert_allclose(batch.reward, 1 + DISCOUNT)


def test_priorities_and_weights_are_those_of_one_buffer():
    replay = filled(2, 40, exponent=1.0, importance=0.5)
    batch = replay.sample(400)
    # The second shard's TD errors are 3 times as large.
    error = np.where(shard_of(batch.observation) == 1, 3.0, 1.0)
    for _ in range(20):
        replay.update_priorities(batch.indices, np.where(shard_of(batch.observation) == 1, 3.0, 1.0))
        batch = replay.sample(400)
    error = np.where(shard_of(batch.observation) == 1, 3.0, 1.0)
    replay.update_priorities(batch.indices, error)
    share = np.mean(shard_of(replay.sample(4000).observation))
    assert share == pytest.approx(0.75, abs=0.01)
    batch = replay.sample(1000)
    wrong = shard_of(batch.observation) == 1
    np.testing.assert_allclose(batch.weight[~wrong], 1.0, rtol=1e-3)
    np.testing.assert_allclose(batch.weight[wrong], 3.0**-0.5, rtol=1e-3)


def test_an_empty_shard_is_not_sampled():
    replay = filled(2, 40)
    replay.shards.insert(0, filled(1, 1).shards[0])
    replay.shards.append(filled(1, 1).shards[0])
    batch = replay.sample(64)
    assert set(batch.indices % 4) == {1, 2}


def test_a_state_restores_all_shards():
    replay = filled(2, 40, exponent=1.0)
    batch = replay.sample(64)
    replay.update_priorities(batch.indices, np.linspace(0.1, 5, 64))
    other = filled(2, 3, exponent=1.0)
    other.restore(replay.state())
    assert len(other) == len(replay)
    for mine, theirs in zip(replay.shards, other.shards, strict=True):
        for name, array in mine.state().items():
            np.testing.assert_array_equal(array, theirs.state()[name])


def test_shards_share_the_capacity():
    replay = filled(4, 300)
    assert len(replay) == 4 * 400
    share = filled(3, 150)
    assert [len(shard) for shard in share.shards] == [300] * 3  # of at most 400


def test_no_transition_crosses_the_point_where_episodes_were_abandoned():
    replay = filled(2, 40)
    replay.truncate_episodes()
    for shard, part in enumerate(replay.shards):
        for time in range(100, 120):
            frame = np.array([[1000 * shard + time], [1000 * shard + 500 + time]], np.float32)
            no = np.zeros(2, bool)
            part.add(frame, no | (time == 100), np.zeros(2, int), np.ones(2), no, no)
    batch = replay.sample(3000)
    np.testing.assert_array_equal(batch.next_observation - batch.observation, np.full((3000, 1), N_STEP))
    assert {40, 100} & set((batch.observation[:, 0] % 500).astype(int).tolist()) == {100}
