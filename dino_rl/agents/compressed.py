"""Compressed frames for a replay buffer: eight times as many in the same memory, for slower sampling."""

from __future__ import annotations

import lz4.block
import numpy as np

SIZE_BYTES = 4  # of the unpacked size at the beginning of a compressed frame


class CompressedFrames:
    """Like an array [slots, envs, *frame] whose frames are compressed one by one (LZ4).

    Args:
        shape: of the whole array.
        dtype: of a frame.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        empty = lz4.block.compress(np.zeros(shape[2:], dtype))
        self._packed = [[empty] * shape[1] for _ in range(shape[0])]

    def __setitem__(self, slot: int, frames: np.ndarray):
        """Store the frames [envs, *frame] of one slot."""
        contiguous = np.ascontiguousarray(frames, self.dtype)
        self._packed[slot] = [lz4.block.compress(frame) for frame in contiguous]

    def __getitem__(self, index: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The frames [B, *frame] at slots [B] and environments [B]."""
        packed = (self._packed[slot][env] for slot, env in zip(*index, strict=True))
        data = b"".join(map(lz4.block.decompress, packed))
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape[2:])

    def state(self, used: int) -> dict[str, np.ndarray]:
        """The first `used` slots, as arrays for a checkpoint."""
        packed = [frame for slot in self._packed[:used] for frame in slot]
        return {
            "_frame_bytes": np.frombuffer(b"".join(packed), np.uint8),
            "_frame_lengths": np.array([len(frame) for frame in packed]),
        }

    def restore(self, state: dict[str, np.ndarray], used: int):
        """Continue from a `state` of the first `used` slots.

        Raises:
            KeyError, ValueError: the state is damaged, or of frames of another size.
        """
        data, lengths = state["_frame_bytes"].tobytes(), state["_frame_lengths"]
        envs = self.shape[1]
        size = int(np.prod(self.shape[2:])) * self.dtype.itemsize
        ends = np.cumsum(lengths)
        if lengths.shape != (used * envs,) or (lengths < SIZE_BYTES).any() or len(data) != lengths.sum():
            raise ValueError("the compressed frames are incomplete")
        starts = ends - lengths
        frames = [data[start:end] for start, end in zip(starts, ends, strict=True)]
        # A frame begins with its unpacked size, which LZ4 would believe.
        if any(int.from_bytes(frame[:SIZE_BYTES], "little") != size for frame in frames):
            raise ValueError("the compressed frames have another size")
        for slot in range(len(frames) // envs):
            self._packed[slot] = frames[slot * envs : (slot + 1) * envs]
