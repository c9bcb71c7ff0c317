"""Experience replay for environments that step together. Each frame is stored once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import numpy as np
from annotated_types import Ge, Interval

from dino_rl.agents.compressed import CompressedFrames
from dino_rl.agents.sum_tree import SumTree
from dino_rl.spec import ObservationSpec

BOOKKEEPING_BYTES = 64  # of a checkpoint for each frame, at most: action, reward, flags, priority
SLOT_BYTES = 37  # of memory for each frame, at least: the same
PACKED_BYTES = 48  # of memory for each compressed frame, at least


@dataclass(frozen=True)
class ReplayConfig:
    """The replay memory. The defaults are those of Mnih et al. 2015: a million frames, sampled uniformly."""

    capacity: Annotated[int, Ge(1)] = 1_000_000
    """Frames in all. A frame of 80x80 bytes takes 6.4 kB."""
    compressed: bool = False
    """Store frames compressed, in about an eighth of the memory; sampling takes longer."""
    priority_exponent: Annotated[float, Ge(0)] = 0.0
    """Exponent of the absolute TD error in the probability of being sampled; Schaul et al. 2016
    (https://arxiv.org/abs/1511.05952) use 0.6. 0: uniform sampling."""
    importance_exponent: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """How far importance-sampling weights correct for the priorities: 0 not at all, 1 in full. Schaul et al.
    2016 start at 0.4."""


def memory_bytes(config: ReplayConfig, observation: ObservationSpec) -> int:
    """Memory that a full replay buffer takes, at least. How far frames can be compressed is not known."""
    frame = math.prod(observation.frame_shape) * observation.dtype.itemsize
    return config.capacity * (SLOT_BYTES + (PACKED_BYTES if config.compressed else frame))


class Batch(NamedTuple):
    """A minibatch of B n-step transitions.

    Attributes:
        observation: [B, *frame, stack] for images, valid until the next `sample`; [B, n] for vectors.
        action: int32 [B].
        reward: float32 [B], the discounted sum over the n steps.
        discount: float32 [B], what the value of `next_observation` is multiplied by: discount ** n, 0 after a
            terminal step.
        next_observation: n steps later, like `observation`.
        weight: float32 [B], importance-sampling weights, at most 1.
        indices: int64 [B], for `update_priorities`.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    next_observation: np.ndarray
    weight: np.ndarray
    indices: np.ndarray


class Replay(Protocol):
    """What an agent needs of a replay memory in order to learn from it."""

    def __len__(self) -> int: ...

    def sample(self, batch_size: int) -> Batch: ...

    def update_priorities(self, indices: np.ndarray, td_error: np.ndarray): ...

    def truncate_episodes(self): ...

    def state(self) -> dict[str, np.ndarray]: ...

    @property
    def max_bytes(self) -> int: ...

    def restore(self, state: dict[str, np.ndarray]): ...


class ReplayBuffer:
    """A ring of time slots. Each slot holds one frame of every environment.

    Slot t of environment i holds the frame that was observed, the action that was chosen on it, and the
    reward and ending that followed. Under next-step autoreset, an episode's last frame is followed by the
    first frame of the next episode; the action between them is ignored by the environment and is never
    sampled. `_set_sampleable` alone decides which slots may start a transition: n steps must have followed,
    and neither the stack nor the n steps may cross the write cursor.

    Priorities are the proportional variant of Schaul et al. 2016 (https://arxiv.org/abs/1511.05952). A new
    transition has that of its TD error by the values that it was acted on (Horgan et al. 2018,
    https://arxiv.org/abs/1803.00933), and not the highest of all: else about every transition would be
    sampled once, however dull, where there are few samples for each.

    Args:
        config: capacity and priorities.
        num_envs: N, environments that step together.
        observation: of one environment; frames of images have a dtype that OpenCV supports, such as uint8.
        n_step: steps of a transition.
        discount: of one step.
        rng: drives the sampling.
        cut_returns: the n steps end before an action that was not greedy: the rewards after it say nothing
            about the greedy policy (Watkins 1989, "Learning from delayed rewards").
    """

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        observation: ObservationSpec,
        n_step: int,
        discount: float,
        rng: np.random.Generator,
        cut_returns: bool = False,
    ):
        self.config = config
        self._num_envs = num_envs
        self._stack_size = observation.stack_size
        self._stack_stride = observation.stack_stride
        # Slots from the newest frame of an observation back to its oldest.
        self._reach = max(0, self._stack_size - 1) * self._stack_stride
        self._slots = max(config.capacity // num_envs, self._reach + n_step + 3)
        self._n_step = n_step
        self._discount = discount
        self._discounts = discount ** np.arange(n_step, dtype=np.float32)
        self._cut_returns = cut_returns
        self._rng = rng
        shape = (self._slots, num_envs)
        frame_shape, dtype = observation.frame_shape, observation.dtype
        self._frame: np.ndarray | CompressedFrames
        if config.compressed:
            self._frame = CompressedFrames((*shape, *frame_shape), dtype)
        else:
            # Filled, so that the system allocates the memory now: a run that needs too much fails at once.
            self._frame = np.empty((*shape, *frame_shape), dtype)
            self._frame.fill(0)
        self._stacks = np.empty((2, 0), dtype)  # for observations and next observations of a batch
        self._first = np.zeros(shape, bool)  # the first frame of an episode
        self._last = np.zeros(shape, bool)  # the last frame of an episode: its action does nothing
        self._action = np.zeros(shape, np.int32)
        self._reward = np.zeros(shape, np.float32)
        self._terminated = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._greedy = np.zeros(shape, bool)
        # Values when acting, of the action taken and of the best. They serve for the first priority alone.
        self._value = np.zeros(shape, np.float32)
        self._best_value = np.zeros(shape, np.float32)
        self._ended = np.zeros(num_envs, bool)  # episodes that ended in the slot written last
        self._time = 0  # slots written so far
        self._break = 0  # the time at which all episodes last started anew
        self._tree = SumTree(self._slots * num_envs)

    def __len__(self) -> int:
        """Frames stored."""
        return min(self._time, self._slots) * self._num_envs

    # --- Adding --------------------------------------------------------------------------------------

    def add(
        self,
        frame: np.ndarray,
        first: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        life_lost: np.ndarray | bool = False,
        values: np.ndarray | None = None,
    ):
        """Add one step of all environments: the newest frames [N, ...], the actions, what followed, [N], and
        the values that were acted on, [N, A]; None: all were 0.

        `Transition` describes the arguments. A lost life is terminal for the return, as the end of an episode
        is, though the episode goes on (Mnih et al. 2015).
        """
        slot = self._time % self._slots
        self._frame[slot] = frame
        self._first[slot] = first
        self._last[slot] = self._ended & (self._time != self._break)
        self._action[slot] = action
        self._reward[slot] = reward
        self._terminated[slot] = terminated | life_lost
        self._truncated[slot] = truncated
        if values is None:
            values = np.zeros((self._num_envs, int(np.max(action)) + 1), np.float32)
        self._value[slot] = values[np.arange(self._num_envs), self._action[slot]]
        self._best_value[slot] = values.max(axis=1)
        self._greedy[slot] = self._value[slot] == self._best_value[slot]
        self._ended = terminated | truncated
        self._time += 1
        self._set_sampleable()

    def _set_sampleable(self):
        envs = np.arange(self._num_envs)
        # The slot that is written next is lost, and so are those whose stack reaches back to it.
        lost = (self._time + np.arange(self._reach + 1)) % self._slots
        index = (lost[:, None] * self._num_envs + envs).ravel()
        priority = np.zeros(len(index))
        ready = self._time - self._n_step - 1  # its n-th successor has just been written
        if ready >= self._reach and not ready < self._break <= ready + self._n_step:
            slot = ready % self._slots
            index = np.append(index, slot * self._num_envs + envs)
            first = np.ones(self._num_envs)
            if self.config.priority_exponent:  # else all are alike
                first = self._priority(self._first_td_error(slot, envs))
            priority = np.append(priority, np.where(self._last[slot], 0.0, first))
        self._tree.set(index, priority)

    def _first_td_error(self, slot: int, envs: np.ndarray) -> np.ndarray:
        """The TD errors [N] of the transitions that start at a slot, by the values when acting."""
        slots = np.full(len(envs), slot)
        reward, discount, steps = self._n_step_return(slots, envs)
        return reward + discount * self._best_value[(slots + steps) % self._slots, envs] - self._value[slot]

    def _priority(self, td_error: np.ndarray) -> np.ndarray:
        return (np.abs(td_error) + 1e-3) ** self.config.priority_exponent

    def truncate_episodes(self):
        """All episodes were abandoned without an end (a browser crashed, a run was resumed).

        Transitions do not cross this point. The next frames added are first ones.
        """
        self._break = self._time

    # --- Sampling ------------------------------------------------------------------------------------

    def sample(self, batch_size: int) -> Batch:
        """Draw a minibatch of n-step transitions."""
        indices = self._tree.sample(self._rng, batch_size)
        slot, env = indices // self._num_envs, indices % self._num_envs
        reward, discount, steps = self._n_step_return(slot, env)
        weight = np.ones(batch_size, np.float32)
        if self.config.importance_exponent:
            priority = self._tree.get(indices)
            weight = ((priority.min() / priority) ** self.config.importance_exponent).astype(np.float32)
        return Batch(
            observation=self._observations(slot, env, 0),
            action=self._action[slot, env],
            reward=reward,
            discount=discount,
            next_observation=self._observations((slot + steps) % self._slots, env, 1),
            weight=weight,
            indices=indices,
        )

    def _n_step_return(self, slot: np.ndarray, env: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the transitions that start at slots [B] of environments [B]: the discounted reward, the discount
        of the value that follows (0 after a terminal step), and the number of steps, n or fewer."""
        span = (slot[:, None] + np.arange(self._n_step)) % self._slots, env[:, None]  # [B, n]
        terminated = self._terminated[span]
        continues = ~(terminated | self._truncated[span])[:, :-1]
        if self._cut_returns:
            continues &= self._greedy[span][:, 1:]
        included = np.ones(terminated.shape, bool)  # step k belongs to the transition
        np.logical_and.accumulate(continues, axis=1, out=included[:, 1:])
        steps = included.sum(axis=1)
        discount = (self._discount**steps).astype(np.float32)
        discount[(included & terminated).any(axis=1)] = 0.0
        return (included * self._reward[span]) @ self._discounts, discount, steps

    def _observations(self, slot: np.ndarray, env: np.ndarray, which: int) -> np.ndarray:
        """The observations at slots [B] of environments [B]; stacks are written to `_stacks[which]`."""
        if not self._stack_size:
            return self._frame[slot, env]
        import cv2  # here, so that a configuration loads without it

        # An episode's first frame is repeated for those before it, as after a reset.
        earlier = (slot[:, None] - np.arange(self._reach)) % self._slots
        same_episode = np.logical_and.accumulate(~self._first[earlier, env[:, None]], axis=1)
        back = np.zeros((len(slot), self._reach + 1), np.int64)
        np.cumsum(same_episode, axis=1, out=back[:, 1:])
        frame_slots = (
            slot[:, None] - back[:, :: self._stack_stride]
        ) % self._slots  # [B, stack], newest first
        # Reused, because page faults in new memory would cost more than all the rest of this function.
        if self._stacks.shape[1] < len(slot):
            self._stacks = np.empty(
                (2, len(slot), *self._frame.shape[2:], self._stack_size), self._frame.dtype
            )
        stack = self._stacks[which, : len(slot)]
        frames = [self._frame[one, env].reshape(len(slot), -1) for one in frame_slots.T]  # newest first
        cv2.merge(frames[::-1], stack.reshape(len(slot), -1, self._stack_size))
        return stack

    # --- Priorities ----------------------------------------------------------------------------------

    @property
    def total_priority(self) -> float:
        """Sum of the priorities of all transitions that may be sampled."""
        return self._tree.total

    def priorities(self, indices: np.ndarray) -> np.ndarray:
        """Priorities of transitions, float64 [B]."""
        return self._tree.get(indices)

    def update_priorities(self, indices: np.ndarray, td_error: np.ndarray):
        """Set the priorities of sampled transitions from their TD errors [B]."""
        if not self.config.priority_exponent:
            return
        valid = self._tree.get(indices) > 0  # not overwritten since they were sampled
        if valid.any():
            self._tree.set(indices[valid], self._priority(td_error)[valid])

    # --- Checkpoints ---------------------------------------------------------------------------------

    _ARRAYS = ("_first", "_last", "_action", "_reward", "_terminated", "_truncated", "_greedy")
    _VALUES = ("_value", "_best_value")  # a checkpoint of version 0.1.0 has none

    def state(self) -> dict[str, np.ndarray]:
        """Everything that a checkpoint needs to continue exactly, as arrays."""
        used = min(self._time, self._slots)
        arrays = {name: getattr(self, name)[:used] for name in self._ARRAYS + self._VALUES}
        if isinstance(self._frame, CompressedFrames):
            arrays |= self._frame.state(used)
        else:
            arrays["_frame"] = self._frame[:used]
        return {
            **arrays,
            "priority": self._tree.get(np.arange(self._slots * self._num_envs)),
            "scalars": np.array([self._time, self._break]),
        }

    @property
    def max_bytes(self) -> int:
        """Upper limit for the size of `state`."""
        frame = math.prod(self._frame.shape[2:]) * self._frame.dtype.itemsize
        return self._slots * self._num_envs * (BOOKKEEPING_BYTES + frame + frame // 100)  # LZ4's worst case

    def restore(self, state: dict[str, np.ndarray]):
        """Continue from a `state` of a buffer of the same shape.

        Raises:
            KeyError, ValueError, TypeError: the state is damaged, or of another buffer.
        """
        scalars, priority = state["scalars"], state["priority"]
        state = {name: np.zeros_like(state["_reward"]) for name in self._VALUES} | state
        time, *_, last_break = (float(value) for value in scalars)  # version 0.1.0 has another between them
        used = int(min(time, self._slots))
        sound = (
            0 <= last_break <= time < np.inf
            and all(state[name].shape == (used, self._num_envs) for name in self._ARRAYS + self._VALUES)
            and all(bool(np.isfinite(state[name]).all()) for name in ("_reward", *self._VALUES))
            and priority.shape == (self._slots * self._num_envs,)
            and bool((np.isfinite(priority) & (priority >= 0)).all())
        )
        if not sound:
            raise ValueError("the replay memory is of another shape, or holds impossible numbers")
        for name in self._ARRAYS + self._VALUES:
            getattr(self, name)[:used] = state[name]
        if isinstance(self._frame, CompressedFrames):
            self._frame.restore(state, used)
        else:
            self._frame[:used] = state["_frame"]
        self._time, self._break = int(time), int(last_break)
        newest = (self._time - 1) % self._slots
        self._ended = self._terminated[newest] | self._truncated[newest]
        self._tree.set(np.arange(self._slots * self._num_envs), priority)
