"""The last frames of games that an agent plays, as it sees them."""

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from dino_rl.runs.clip import Clip

CLIP_SECONDS = 8.0
EVERY = 2  # of so many frames, one is kept
MOMENTS = 24  # of a clip, whose whole observations are kept


class LastFrames(gymnasium.vector.VectorWrapper):
    """Keeps the last seconds of each game, as the newest frames of its observations.

    Args:
        env: a vector environment without autoreset, whose observations are stacked frames, uint8
            [N, H, W, stack]. Its games are reset with a seed each.

    Attributes:
        clips: of the games that have ended, by seed. Of several games with one seed, the first.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv):
        super().__init__(env)
        self.clips: dict[int, Clip] = {}
        self._fps = env.metadata.get("render_fps", 30) / EVERY
        self._recent: deque[np.ndarray] = deque(maxlen=max(1, round(CLIP_SECONDS * self._fps)))
        self._moments: deque[tuple[int, np.ndarray]] = deque(maxlen=MOMENTS)  # with the step of each
        self._between = max(1, round(CLIP_SECONDS * self._fps * EVERY / MOMENTS))
        self._steps = self._kept = 0
        self._seeds = [-1] * env.num_envs  # of the running games
        self._began = [0] * env.num_envs  # `_kept` when they began
        self._began_step = [0] * env.num_envs

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        result = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(mask).tolist():
            self._seeds[i], self._began[i], self._began_step[i] = seed[i], self._kept, self._steps
        return result

    def step(self, actions: Any):
        result = self.env.step(actions)
        observations, _, terminated, truncated, _ = result
        ended = np.flatnonzero(terminated | truncated).tolist()
        self._steps += 1
        if self._steps % EVERY == 0 or ended:
            self._recent.append(np.ascontiguousarray(observations[..., -1]))
            self._kept += 1
        if self._steps % self._between == 0:
            self._moments.append((self._steps, observations.copy()))
        for i in ended:
            if self._seeds[i] not in self.clips:
                frames = list(self._recent)[self._began[i] - self._kept :]
                moments = [seen[i] for step, seen in self._moments if step > self._began_step[i]]
                self.clips[self._seeds[i]] = Clip(
                    np.stack([frame[i] for frame in frames]),
                    self._fps,
                    np.stack(moments or [observations[i]]),
                )
        return result
