"""Experience replay for many environments side by side: each frame is kept once."""

from dataclasses import dataclass

import cv2
import numpy as np

from dino_rl.agents.compressed import CompressedFrames


@dataclass(frozen=True)
class Batch:
    """A minibatch of B n-step transitions.

    Attributes:
        observation: [B, *frame, stack] for images, until the next `sample`; [B, *frame] for vectors.
        action: int32 [B].
        reward: float32 [B], discounted sum over the n steps.
        discount: float32 [B], what the value of `next_observation` is worth: 0 after a terminal step.
        next_observation: like `observation`.
        weight: float32 [B], importance-sampling weights, at most 1.
        index: int64 [B], for `Replay.update_priorities`.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    next_observation: np.ndarray
    weight: np.ndarray
    index: np.ndarray


class SumTree:
    """Priorities of `size` items: set in bulk, drawn in proportion, each in log(size) vector steps."""

    def __init__(self, size: int):
        self._leaves = 1 << max(1, (size - 1).bit_length())
        self._nodes = np.zeros(2 * self._leaves, np.float64)  # node i has the children 2i and 2i + 1

    @property
    def total(self) -> float:
        return float(self._nodes[1])

    def get(self, index: np.ndarray) -> np.ndarray:
        return self._nodes[self._leaves + index]

    def set(self, index: np.ndarray, priority: np.ndarray | float):
        """Give items their priorities. An index may occur more than once; the last one counts."""
        node = self._leaves + np.asarray(index)
        self._nodes[node] = priority
        while node[0] > 1:
            node = node >> 1  # some twice, which costs less than to look for them
            self._nodes[node] = self._nodes[2 * node] + self._nodes[2 * node + 1]

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` items, int64, stratified over the total."""
        left = (np.arange(count) + rng.random(count)) * (self.total / count)
        node = np.ones(count, np.int64)
        while node[0] < self._leaves:
            node *= 2
            skip = left >= self._nodes[node]
            # Rounding may point past the last item that has a priority: stay where there is some.
            skip &= self._nodes[node + 1] > 0
            left -= np.where(skip, self._nodes[node], 0.0)
            node += skip
        return node - self._leaves


class Replay:
    """A ring of time slots; each slot holds one frame of every environment.

    Slot t of environment n holds the frame shown there, the action taken on it, and the reward and ending
    that followed. Under next-step autoreset, an episode's last frame is followed by the first of the next;
    the action between them is no transition and is never sampled. Which slots may start a transition is
    decided in one place, `_set_sampleable`: n steps must have followed, and neither stack nor steps may cross
    the write cursor.

    Priorities follow Schaul et al. 2016 (https://arxiv.org/abs/1511.05952), the proportional variant.

    Args:
        capacity: frames in all.
        num_envs: environments that step together.
        frame_shape, dtype: of one frame; stacked ones are of a dtype that OpenCV has, such as uint8.
        stack_size: frames in an observation; 0 for vectors, which are not stacked.
        stack_stride: time slots from one frame of an observation to the next.
        n_step, discount: of the transitions sampled.
        priority_exponent: 0 samples uniformly.
        rng: drives the sampling.
        compressed: keep frames in a tenth of the memory, for more time at each sample.
        cut_returns: the n steps end before an action that was not greedy: what it led to says nothing about
            the greedy player (Watkins 1989, "Learning from delayed rewards").
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        frame_shape: tuple[int, ...],
        dtype: np.dtype,
        stack_size: int,
        stack_stride: int,
        n_step: int,
        discount: float,
        priority_exponent: float,
        rng: np.random.Generator,
        compressed: bool = False,
        cut_returns: bool = False,
    ):
        self._reach = max(0, stack_size - 1) * stack_stride  # how far back an observation's oldest frame lies
        self._slots = max(capacity // num_envs, self._reach + n_step + 3)
        self._num_envs = num_envs
        self._stack_size = stack_size
        self._stack_stride = stack_stride
        self._n_step = n_step
        self._discount = discount
        self._exponent = priority_exponent
        self._cut_returns = cut_returns
        self._rng = rng
        self._discounts = discount ** np.arange(n_step, dtype=np.float32)
        shape = (self._slots, num_envs)
        self._frame: np.ndarray | CompressedFrames
        if compressed:
            self._frame = CompressedFrames((*shape, *frame_shape), dtype)
        else:
            # Written to now, so that the memory is taken now: a run that needs too much fails at its start,
            # and one that has started does not grow.
            self._frame = np.empty((*shape, *frame_shape), dtype)
            self._frame.fill(0)
        self._rooms = np.empty((2, 0), dtype)  # for observations and next observations of a batch
        self._first = np.zeros(shape, bool)  # the first frame of an episode
        self._last = np.zeros(shape, bool)  # the last one: no action follows
        self._action = np.zeros(shape, np.int32)
        self._reward = np.zeros(shape, np.float32)
        self._terminated = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._greedy = np.zeros(shape, bool)
        self._ended = np.zeros(num_envs, bool)  # episodes that ended in the slot written last
        self._time = 0  # slots written so far
        self._break = 0  # the time at which all episodes last broke off, or began
        self._tree = SumTree(self._slots * num_envs)
        self._max_priority = 1.0

    def __len__(self) -> int:
        """Frames held."""
        return min(self._time, self._slots) * self._num_envs

    def add(
        self,
        frame: np.ndarray,
        first: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        life_lost: np.ndarray | bool = False,
        greedy: np.ndarray | bool = True,
    ):
        """One step of all environments: the frames seen [N, ...], and what followed the actions [N].

        What comes after a lost life is worth nothing, as after the end of the game, which yet goes on.
        """
        slot = self._time % self._slots
        self._frame[slot] = frame
        self._first[slot] = first
        self._last[slot] = self._ended & (self._time != self._break)
        self._action[slot] = action
        self._reward[slot] = reward
        self._terminated[slot] = terminated | life_lost
        self._truncated[slot] = truncated
        self._greedy[slot] = greedy
        self._ended = terminated | truncated
        self._time += 1
        self._set_sampleable()

    def _set_sampleable(self):
        everyone = np.arange(self._num_envs)
        # The slot that is written next, and those whose stack reaches back to it, are lost.
        blocked = (self._time + np.arange(self._reach + 1)) % self._slots
        index = (blocked[:, None] * self._num_envs + everyone).ravel()
        priority = np.zeros(len(index))
        ready = self._time - self._n_step - 1  # its n-th successor has just been written
        if ready >= self._reach and not ready < self._break <= ready + self._n_step:
            slot = ready % self._slots
            index = np.append(index, slot * self._num_envs + everyone)
            priority = np.append(priority, np.where(self._last[slot], 0.0, self._max_priority))
        self._tree.set(index, priority)

    def sample(self, batch_size: int, importance_exponent: float = 0.0) -> Batch:
        """Draw a minibatch."""
        index = self._tree.sample(self._rng, batch_size)
        slot, env = index // self._num_envs, index % self._num_envs
        here = (slot[:, None] + np.arange(self._n_step)) % self._slots, env[:, None]  # [B, n]
        terminated = self._terminated[here]
        goes_on = ~(terminated | self._truncated[here])[:, :-1]
        if self._cut_returns:
            goes_on &= self._greedy[here][:, 1:]
        counts = np.ones(terminated.shape, bool)  # step k of the n belongs to the transition
        np.logical_and.accumulate(goes_on, axis=1, out=counts[:, 1:])
        steps = counts.sum(axis=1)
        discount = (self._discount**steps).astype(np.float32)
        discount[(counts & terminated).any(axis=1)] = 0.0
        weight = np.ones(batch_size, np.float32)
        if importance_exponent:
            priority = self._tree.get(index)
            weight = ((priority.min() / priority) ** importance_exponent).astype(np.float32)
        return Batch(
            observation=self._observations(slot, env, 0),
            action=self._action[slot, env],
            reward=(counts * self._reward[here]) @ self._discounts,
            discount=discount,
            next_observation=self._observations((slot + steps) % self._slots, env, 1),
            weight=weight,
            index=index,
        )

    def _observations(self, slot: np.ndarray, env: np.ndarray, room: int) -> np.ndarray:
        """Those at slots [B] of environments [B]; stacked ones lie in one of two rooms for a batch."""
        if not self._stack_size:
            return self._frame[slot, env]
        # An episode's first frame stands for those before it, as after a reset.
        earlier = (slot[:, None] - np.arange(self._reach)) % self._slots
        goes_back = np.logical_and.accumulate(~self._first[earlier, env[:, None]], axis=1)
        back = np.zeros((len(slot), self._reach + 1), np.int64)
        np.cumsum(goes_back, axis=1, out=back[:, 1:])
        shown = (slot[:, None] - back[:, :: self._stack_stride]) % self._slots  # [B, stack], newest first
        # Memory that is taken anew each time costs more, in page faults, than all else here.
        if self._rooms.shape[1] < len(slot):
            self._rooms = np.empty(
                (2, len(slot), *self._frame.shape[2:], self._stack_size), self._frame.dtype
            )
        stack = self._rooms[room, : len(slot)]
        pictures = [self._frame[shown[:, i], env].reshape(len(slot), -1) for i in range(shown.shape[1])]
        cv2.merge(pictures[::-1], stack.reshape(len(slot), -1, self._stack_size))
        return stack

    @property
    def total_priority(self) -> float:
        """Sum over all that may be sampled."""
        return self._tree.total

    def priorities(self, index: np.ndarray) -> np.ndarray:
        """Priorities of transitions, float64 [B]."""
        return self._tree.get(index)

    def update_priorities(self, index: np.ndarray, td_error: np.ndarray):
        """Set priorities of sampled transitions from their TD errors [B]."""
        if not self._exponent:
            return
        priority = (np.abs(td_error) + 1e-3) ** self._exponent
        alive = self._tree.get(index) > 0  # not overwritten since
        if alive.any():
            self._tree.set(index[alive], priority[alive])
        self._max_priority = max(self._max_priority, float(priority.max()))

    def break_off(self):
        """All episodes stop here without an end (a browser that died, a run resumed): what follows is new."""
        self._break = self._time

    # --- Keeping it ----------------------------------------------------------------------------------

    _ARRAYS = ("_first", "_last", "_action", "_reward", "_terminated", "_truncated", "_greedy")

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on as if nothing had happened, as arrays."""
        used = min(self._time, self._slots)
        arrays = {name: getattr(self, name)[:used] for name in self._ARRAYS}
        if isinstance(self._frame, CompressedFrames):
            arrays |= self._frame.state(used)
        else:
            arrays["_frame"] = self._frame[:used]
        priority = self._tree.get(np.arange(self._slots * self._num_envs))
        return {
            **arrays,
            "priority": priority,
            "scalars": np.array([self._time, self._max_priority, self._break]),
        }

    def restore(self, state: dict[str, np.ndarray]):
        """Take over a `state` of a replay of the same shape."""
        for name in self._ARRAYS:
            array = state[name]
            getattr(self, name)[: len(array)] = array
        if isinstance(self._frame, CompressedFrames):
            self._frame.restore(state)
        else:
            self._frame[: len(state["_frame"])] = state["_frame"]
        self._time = int(state["scalars"][0])
        self._max_priority = float(state["scalars"][1])
        self._break = int(state["scalars"][2])
        newest = (self._time - 1) % self._slots
        self._ended = self._terminated[newest] | self._truncated[newest]
        self._tree.set(np.arange(self._slots * self._num_envs), state["priority"])
