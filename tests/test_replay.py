"""The replay buffer and its sum tree against brute force: plain Python lists of whole episodes."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from dino_rl.agents.compressed import CompressedFrames
from dino_rl.agents.replay import Batch, ReplayBuffer, ReplayConfig
from dino_rl.agents.sum_tree import SumTree
from dino_rl.spec import ObservationSpec

DISCOUNT = 0.9


@dataclass
class Episode:
    """Frames that one environment showed, first to last. They are numbers, all different."""

    start: int  # time of its first frame
    frames: list[int] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    greedy: list[bool] = field(default_factory=list)  # whether each action was
    end: str = "running"  # then: terminated, truncated, or abandoned (without an end)


class World:
    """Drives a buffer as the training loop does (next-step autoreset), and keeps every episode whole."""

    def __init__(self, replay: ReplayBuffer, num_envs: int, seed: int, end_share: float = 0.15):
        self.replay = replay
        self.num_envs = num_envs
        self.stacked = replay._stack_size > 0
        self.time = 0
        self.episodes: list[list[Episode]] = [[] for _ in range(num_envs)]
        self._rng = np.random.default_rng(seed)
        self._end_share = end_share
        self._frame = itertools.count(1)
        self._start()

    def _start(self):
        for episodes in self.episodes:
            episodes.append(Episode(self.time, [next(self._frame)]))
        self._first = np.ones(self.num_envs, bool)

    def abandon(self):
        """The browser crashed: running episodes have no end, and all start anew."""
        for episodes in self.episodes:
            if episodes[-1].end == "running":
                # No action was chosen on its newest frame, which never reached the buffer.
                episodes[-1].frames.pop()
                episodes[-1].end = "abandoned"
        self.replay.truncate_episodes()
        self._start()

    def step(self):
        action = self._rng.integers(0, 3, self.num_envs)
        reward = self._rng.normal(size=self.num_envs).astype(np.float32)
        ending = self._rng.random(self.num_envs) < self._end_share
        by_crash = self._rng.random(self.num_envs) < 0.5
        greedy = self._rng.random(self.num_envs) < 0.8
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        frames = np.array([episodes[-1].frames[-1] for episodes in self.episodes])
        for env, episodes in enumerate(self.episodes):
            episode = episodes[-1]
            if episode.end != "running":  # the step between two episodes: its action does nothing
                reward[env] = 1e6
                episodes.append(Episode(self.time + 1, [next(self._frame)]))
                continue
            episode.actions.append(int(action[env]))
            episode.rewards.append(float(reward[env]))
            episode.greedy.append(bool(greedy[env]))
            episode.frames.append(next(self._frame))
            if ending[env]:
                terminated[env], truncated[env] = by_crash[env], not by_crash[env]
                episode.end = "terminated" if by_crash[env] else "truncated"
        values = np.zeros((self.num_envs, 3))
        values[np.arange(self.num_envs), action] = np.where(greedy, 1.0, -1.0)
        self.replay.add(
            self.as_stored(frames), self._first, action, reward, terminated, truncated, values=values
        )
        self._first = np.array([episodes[-1].start == self.time + 1 for episodes in self.episodes])
        self.time += 1

    def as_stored(self, frames: np.ndarray) -> np.ndarray:
        """Numbers [N] as the frames that the buffer stores, images of one pixel or numbers."""
        return frames.reshape(-1, 1, 1) if self.stacked else frames

    def transitions(self, n_step: int, stack: int, stride: int, cut: bool = False) -> dict[int, tuple]:
        """Every transition so far, by its first frame's number: (time, what a sample must contain)."""
        return {
            episode.frames[i]: (episode.start + i, _transition(episode, i, n_step, stack, stride, cut))
            for episodes in self.episodes
            for episode in episodes
            for i in range(len(episode.actions))
            if episode.end in ("terminated", "truncated") or i + n_step < len(episode.frames)
        }


def _transition(episode: Episode, i: int, n_step: int, stack: int, stride: int, cut: bool) -> dict:
    steps = min(n_step, len(episode.actions) - i)
    if cut:  # before the next action that was not greedy
        steps = next((k for k in range(1, steps) if not episode.greedy[i + k]), steps)
    ends_here = i + steps == len(episode.actions) and episode.end == "terminated"

    def shown(last: int):
        if not stack:
            return episode.frames[last]
        return [episode.frames[max(0, last - stride * back)] for back in reversed(range(stack))]

    return {
        "observation": shown(i),
        "action": episode.actions[i],
        "reward": sum(DISCOUNT**k * episode.rewards[i + k] for k in range(steps)),
        "discount": 0.0 if ends_here else DISCOUNT**steps,
        "next_observation": shown(i + steps),
    }


STACKS = [(4, 1), (4, 2), (2, 3), (0, 1)]  # frames of an observation, and slots from one to the next


def make_replay(
    slots=40,
    num_envs=3,
    stack=4,
    stride=1,
    n_step=1,
    exponent=0.0,
    importance=0.0,
    seed=0,
    compressed=False,
    cut=False,
) -> ReplayBuffer:
    """A buffer of numbers: images of one pixel, or plain numbers without a stack."""
    config = ReplayConfig(slots * num_envs, compressed, exponent, importance)
    observation = ObservationSpec((1, 1, stack) if stack else (), np.dtype(np.int32), stride)
    return ReplayBuffer(config, num_envs, observation, n_step, DISCOUNT, np.random.default_rng(seed), cut)


def numbers(observation: np.ndarray) -> np.ndarray:
    """The frames' numbers: [B, stack], or [B] without a stack."""
    return observation[:, 0, 0] if observation.ndim == 4 else observation


def first_frames(batch: Batch) -> np.ndarray:
    """The numbers of the newest frames at the start of the sampled transitions."""
    shown = numbers(batch.observation)
    return shown[:, -1] if shown.ndim == 2 else shown


def assert_as_in_the_world(
    batch: Batch, world: World, n_step: int, stack: int, stride: int = 1, cut: bool = False
) -> set[int]:
    """Every sample is a transition of the world; returns their first frames."""
    known = world.transitions(n_step, stack, stride, cut)
    frames = first_frames(batch).tolist()
    assert set(frames) <= set(known), f"{set(frames) - set(known)} start no transition"
    for name in ("observation", "action", "reward", "discount", "next_observation"):
        expected = np.array([known[frame][1][name] for frame in frames])
        sampled = getattr(batch, name)
        if name.endswith("observation"):
            sampled = numbers(sampled)
        np.testing.assert_allclose(sampled, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    return set(frames)


@pytest.mark.parametrize("n_step", [1, 5])
@pytest.mark.parametrize(("stack", "stride"), STACKS)
@pytest.mark.parametrize("steps", [25, 39, 40, 41, 150])
def test_samples_are_the_transitions_that_happened(n_step, stack, stride, steps):
    slots = 40
    replay = make_replay(slots, stack=stack, stride=stride, n_step=n_step)
    world = World(replay, num_envs=3, seed=steps)
    for _ in range(steps):
        world.step()
    sampled = assert_as_in_the_world(replay.sample(3000), world, n_step, stack, stride)
    # All are sampled but those at the edges: the cursor is about to overwrite them, or they are incomplete.
    reach = stack * stride
    held = range(max(reach, steps - slots + reach + 1), steps - n_step - 1)
    known = world.transitions(n_step, stack, stride)
    due = {frame for frame, (time, _) in known.items() if time in held}
    assert len(due) > 20
    assert due <= sampled


@pytest.mark.parametrize("n_step", [1, 5])
@pytest.mark.parametrize(("stack", "stride"), STACKS)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_moment_of_a_long_run(n_step, stack, stride, compressed):
    replay = make_replay(slots=20, stack=stack, stride=stride, n_step=n_step, compressed=compressed)
    world = World(replay, num_envs=3, seed=5, end_share=0.3)
    for time in range(120):
        world.step()
        if time > 16:
            assert_as_in_the_world(replay.sample(64), world, n_step, stack, stride)


@pytest.mark.parametrize("n_step", [1, 2, 5])
@pytest.mark.parametrize("stack", [4, 0])
def test_returns_end_before_an_action_that_is_not_greedy(n_step, stack):
    replay = make_replay(stack=stack, n_step=n_step, cut=True)
    world = World(replay, num_envs=3, seed=6)
    for _ in range(90):
        world.step()
    batch = replay.sample(3000)
    assert_as_in_the_world(batch, world, n_step, stack, cut=True)
    steps = set(np.round(np.log(batch.discount[batch.discount > 0]) / np.log(DISCOUNT)).astype(int).tolist())
    assert steps == set(range(1, n_step + 1))  # some were cut short, some were not


@pytest.mark.parametrize("n_step", [1, 5])
@pytest.mark.parametrize("stack", [4, 0])
@pytest.mark.parametrize("abandoned_at", [[20], [20, 21, 24], [55, 70]])
def test_no_transition_crosses_the_point_where_episodes_were_abandoned(n_step, stack, abandoned_at):
    replay = make_replay(slots=40, stack=stack, n_step=n_step)
    world = World(replay, num_envs=3, seed=3, end_share=0.1)
    for time in range(75):
        if time in abandoned_at:
            world.abandon()
        world.step()
        if time > 12:
            assert_as_in_the_world(replay.sample(200), world, n_step, stack)


@pytest.mark.parametrize("stack", [4, 0])
def test_the_action_between_two_episodes_is_never_sampled(stack):
    replay = make_replay(slots=60, stack=stack, n_step=3)
    world = World(replay, num_envs=3, seed=8, end_share=0.5)
    for _ in range(100):
        world.step()
    last_frames = {e.frames[-1] for episodes in world.episodes for e in episodes if e.end != "running"}
    assert len(last_frames) > 50
    batch = replay.sample(3000)
    assert not last_frames & set(first_frames(batch).tolist())
    assert np.abs(batch.reward).max() < 1e3  # such an action has a reward of 1e6 in this world


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not():
    replay = make_replay(slots=50, num_envs=2, stack=0, n_step=1)
    for time in range(20):
        ends = time == 9
        replay.add(
            np.array([time, 100 + time]),
            np.array([time in (0, 11)] * 2),
            np.zeros(2, int),
            np.ones(2),
            terminated=np.array([ends, False]),
            truncated=np.array([False, ends]),
        )
    batch = replay.sample(500)
    discount = dict(zip(batch.observation.tolist(), batch.discount.tolist(), strict=True))
    assert discount[9] == 0.0
    assert discount[109] == pytest.approx(DISCOUNT)
    assert batch.next_observation[batch.observation == 109][0] == 110  # the episode's own last frame
    assert 10 not in discount
    assert 110 not in discount


def test_a_lost_life_is_terminal_for_the_return_but_the_episode_continues():
    replay = make_replay(slots=50, num_envs=1, stack=0, n_step=3)
    for time in range(20):
        nothing = np.zeros(1, bool)
        lost = np.array([time == 9])
        replay.add(np.array([time]), nothing | (time == 0), nothing, np.ones(1), nothing, nothing, lost)
    batch = replay.sample(500)
    reward = dict(zip(batch.observation.tolist(), batch.reward.tolist(), strict=True))
    discount = dict(zip(batch.observation.tolist(), batch.discount.tolist(), strict=True))
    assert [reward[time] for time in (6, 7, 8, 9)] == pytest.approx([2.71, 2.71, 1.9, 1.0])
    assert discount[6] > 0
    assert discount[7] == discount[8] == discount[9] == 0
    assert reward[10] == pytest.approx(2.71)  # the step after it is one like any other


def test_images_are_stored_once_and_stacked_newest_last():
    observation = ObservationSpec((8, 8, 4), np.dtype(np.uint8))
    replay = ReplayBuffer(ReplayConfig(400), 2, observation, 1, 0.99, np.random.default_rng(0))
    for time in range(30):
        frame = np.full((2, 8, 8), time, np.uint8)
        nothing = np.zeros(2, bool)
        replay.add(frame, nothing | (time == 0), np.zeros(2, int), np.zeros(2), nothing, nothing)
    batch = replay.sample(16)
    assert batch.observation.shape == batch.next_observation.shape == (16, 8, 8, 4)
    assert batch.observation.dtype == np.uint8
    assert (np.diff(batch.observation[:, 0, 0].astype(int), axis=1) == 1).all()
    assert (batch.next_observation[:, 0, 0, :3] == batch.observation[:, 0, 0, 1:]).all()
    assert len(replay) == 60
    assert replay.state()["_frame"].nbytes == 60 * 64  # one byte for each pixel of each frame


def test_compressed_frames_are_the_same_frames_in_less_memory():
    frames = CompressedFrames((50, 4, 80, 80), np.uint8)
    rng = np.random.default_rng(3)
    images = np.full((50, 4, 80, 80), 255, np.uint8)
    images[:, :, 60:70, 10:20] = rng.integers(0, 256, (50, 4, 10, 10))
    for slot in range(50):
        frames[slot] = images[slot]
    slots, envs = rng.integers(50, size=300), rng.integers(4, size=300)
    np.testing.assert_array_equal(frames[slots, envs], images[slots, envs])
    assert frames.state(50)["_frame_bytes"].nbytes < images.nbytes / 10


# --- Priorities ----------------------------------------------------------------------------------------


def full_replay(exponent=0.6, steps=50, slots=40, importance=0.0) -> tuple[ReplayBuffer, World]:
    replay = make_replay(slots, stack=4, n_step=1, exponent=exponent, importance=importance)
    world = World(replay, num_envs=3, seed=1)
    for _ in range(steps):
        world.step()
    return replay, world


def shares(replay: ReplayBuffer, draws: int = 40_000) -> dict[int, float]:
    """How often each transition is drawn, by its index."""
    index, counts = np.unique(replay.sample(draws).indices, return_counts=True)
    return dict(zip(index.tolist(), (counts / draws).tolist(), strict=True))


def test_drawn_in_proportion_to_td_errors():
    replay, _ = full_replay(exponent=0.6)
    index = np.array(sorted(shares(replay)))
    error = np.linspace(-5, 5, len(index))
    replay.update_priorities(index, error)
    expected = (np.abs(error) + 1e-3) ** 0.6
    expected /= expected.sum()
    drawn = shares(replay)
    np.testing.assert_allclose([drawn.get(i, 0.0) for i in index.tolist()], expected, atol=1e-3)


def test_importance_weights_undo_the_preference():
    replay, _ = full_replay(exponent=0.6, importance=0.4)
    plain, _ = full_replay(exponent=0.6)
    index = np.array(sorted(shares(replay)))
    for each in (replay, plain):
        each.update_priorities(index, np.linspace(0.1, 5, len(index)))
    priority = dict(zip(index.tolist(), (np.linspace(0.1, 5, len(index)) + 1e-3) ** 0.6, strict=True))
    batch = replay.sample(64)
    drawn = np.array([priority[i] for i in batch.indices.tolist()])
    np.testing.assert_allclose(batch.weight, (drawn.min() / drawn) ** 0.4, rtol=1e-5)
    assert batch.weight.max() == pytest.approx(1.0)
    assert (plain.sample(64).weight == 1).all()


def test_without_an_exponent_all_are_equally_likely():
    replay, _ = full_replay(exponent=0.0)
    index = np.array(sorted(shares(replay)))
    replay.update_priorities(index, np.linspace(0, 100, len(index)))
    assert max(shares(replay).values()) < 1.2 / len(index)


def test_an_overwritten_transition_loses_its_priority():
    replay, world = full_replay(exponent=1.0)
    index = np.array(sorted(shares(replay)))
    oldest = index[index // 3 == min(set((index // 3).tolist()), key=lambda slot: (slot - world.time) % 40)]
    replay.update_priorities(oldest, np.full(len(oldest), 1e6))
    assert set(replay.sample(100).indices.tolist()) == set(oldest.tolist())
    for _ in range(5):
        world.step()
    drawn = replay.sample(2000)
    assert not set(drawn.indices.tolist()) & set(oldest.tolist())
    assert_as_in_the_world(drawn, world, 1, 4)
    # TD errors that arrive late must not make it sampleable again.
    replay.update_priorities(oldest, np.full(len(oldest), 1e9))
    assert not set(replay.sample(2000).indices.tolist()) & set(oldest.tolist())


def test_a_new_transition_has_the_priority_of_its_td_error():
    replay = make_replay(slots=50, num_envs=2, stack=0, n_step=2, exponent=0.5)
    rng = np.random.default_rng(4)
    values, rewards, actions = (
        rng.normal(size=(12, 2, 3)),
        rng.normal(size=(12, 2)),
        rng.integers(3, size=(12, 2)),
    )
    no = np.zeros(2, bool)
    for time in range(12):
        crash = np.array([time == 6, False])
        replay.add(
            np.arange(2), no | (time == 0), actions[time], rewards[time], crash, no, values=values[time]
        )
    for time, env, rest in (
        (2, 0, 0.9 * rewards[3, 0] + 0.81 * values[4, 0].max()),
        (2, 1, 0.9 * rewards[3, 1] + 0.81 * values[4, 1].max()),
        (5, 0, 0.9 * rewards[6, 0]),
        (6, 0, 0.0),
        (6, 1, 0.9 * rewards[7, 1] + 0.81 * values[8, 1].max()),
    ):
        td_error = rewards[time, env] + rest - values[time, env, actions[time, env]]
        (priority,) = replay.priorities(np.array([2 * time + env]))
        assert priority == pytest.approx((abs(td_error) + 1e-3) ** 0.5, rel=1e-5)
    assert replay.priorities(np.array([14]))[0] == 0  # the episode's last frame: its action did nothing


@pytest.mark.parametrize("steps", [17, 90])
@pytest.mark.parametrize("stack", [4, 0])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_restored_buffer_continues_exactly(steps, stack, compressed):
    def make(seed):
        return make_replay(
            stack=stack, n_step=3, exponent=0.5, importance=0.4, seed=seed, compressed=compressed
        )

    original = make(1)
    world = World(original, num_envs=3, seed=2)
    for time in range(steps):
        if time == 10:
            world.abandon()
        world.step()
    batch = original.sample(20)
    original.update_priorities(batch.indices, np.arange(20.0))
    copy = make(2)
    copy.restore({name: np.array(array) for name, array in original.state().items()})
    copy._rng.bit_generator.state = original._rng.bit_generator.state
    assert len(copy) == len(original)
    for name, array in original.state().items():
        np.testing.assert_array_equal(copy.state()[name], array, err_msg=name)

    rng = np.random.default_rng(0)
    for _ in range(60):
        frame, action, reward = rng.integers(10**6, size=3), rng.integers(3, size=3), rng.normal(size=3)
        ends = rng.random((3, 3)) < 0.1
        for replay in (original, copy):
            replay.add(world.as_stored(frame), ends[0], action, reward, ends[1], ends[2] & ~ends[1])
        batches = [replay.sample(16) for replay in (original, copy)]
        for name in Batch._fields:
            np.testing.assert_array_equal(*(getattr(batch, name) for batch in batches), err_msg=name)


# --- The sum tree --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 64, 100])
def test_sum_tree_equals_a_plain_array(size):
    tree, plain, rng = SumTree(size), np.zeros(size), np.random.default_rng(size)
    for _ in range(200):
        index = rng.integers(0, size, int(rng.integers(1, 20)))
        priority = rng.random(len(index)) * (rng.random(len(index)) < 0.7)
        tree.set(index, priority)
        for i, p in zip(index, priority, strict=True):  # the last of equal indices counts
            plain[i] = p
        np.testing.assert_array_equal(tree.get(np.arange(size)), plain)
        assert tree.total == pytest.approx(plain.sum())


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_sum_tree_draws_in_proportion_and_no_item_of_priority_zero(size):
    rng = np.random.default_rng(size)
    priority = rng.random(size) ** 3 * (rng.random(size) < 0.5)
    priority[size // 2] = 0.5
    tree = SumTree(size)
    tree.set(np.arange(size), priority)
    draws = 200_000
    counts = np.bincount(tree.sample(rng, draws), minlength=size)
    expected = draws * priority / priority.sum()
    # Stratified: an item whose priority is k strata long is drawn k times, plus or minus its two ends.
    assert np.abs(counts - expected).max() <= 2
    assert (counts[priority == 0] == 0).all()


def test_sum_tree_sets_one_priority_for_many():
    tree = SumTree(10)
    tree.set(np.array([2, 5, 7]), 3.0)
    assert tree.total == 9.0
    tree.set(np.array([5]), 0.0)
    assert set(tree.sample(np.random.default_rng(0), 500).tolist()) == {2, 7}
