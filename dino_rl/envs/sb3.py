"""Gymnasium's vector environments for Stable-Baselines3, which has an interface of its own.

from dino_rl.envs.sb3 import SB3VecEnv
model = PPO("CnnPolicy", SB3VecEnv("ChromeDino-v0", num_envs=8))
"""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

FINAL = ("final_obs", "final_info")


class SB3VecEnv(VecEnv):
    """A vector environment of Gymnasium, such as many Dino games in one page, as a `VecEnv`.

    - An ended game is reset within the step (SAME_STEP autoreset). Its `info` is that of the end, with
      `terminal_observation` and `TimeLimit.truncated`; what `reset` said of the new one is in `reset_infos`.
    - Images have their channels first, [N, 4, 80, 80], as PyTorch's convolutions need them.
    - `seed` holds for the next `reset`; so do options, which must be the same for all games.

    Args:
        env: an id for `gymnasium.make_vec`, or a vector environment with SAME_STEP autoreset.
        num_envs: number of games, for an id.
        options: of `make_vec`, for an id.

    Raises:
        ValueError: the environment has another autoreset mode.
    """

    def __init__(self, env: str | gymnasium.vector.VectorEnv, num_envs: int = 1, **options: Any):
        if isinstance(env, str):
            env = gymnasium.make_vec(
                env, num_envs=num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options
            )
        if env.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise ValueError("SB3VecEnv needs a vector environment with autoreset_mode=SAME_STEP.")
        self.env = env
        space = env.single_observation_space
        self._is_image = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 3
        if self._is_image:
            assert isinstance(space, gymnasium.spaces.Box)
            low, high = (np.moveaxis(bound, -1, 0) for bound in (space.low, space.high))
            space = gymnasium.spaces.Box(low, high, dtype=np.uint8)
        super().__init__(env.num_envs, space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """The first observations of all games."""
        options = self._options[0] or None
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, infos = self.env.reset(seed=seeds, options=options)
        self.reset_infos = [self._info(infos, i) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._observations(observations)

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations, rewards float32 [N], dones bool [N], and infos."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        dones = terminated | truncated
        rows = []
        for i in range(self.num_envs):
            row = self._info(infos, i)
            if dones[i]:
                self.reset_infos[i] = row
                row = self._info(infos["final_info"], i)
                row["terminal_observation"] = self._observations(infos["final_obs"][i])
            row["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            rows.append(row)
        return self._observations(observations), rewards.astype(np.float32), dones, rows

    def _observations(self, observations: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(observations, -1, -3)) if self._is_image else observations

    @staticmethod
    def _info(infos: dict[str, Any], i: int) -> dict[str, Any]:
        """The info of one game: Gymnasium has an array for each key, and a mask of the games that have it."""
        return {
            name: values[i]
            for name, values in infos.items()
            if not name.startswith("_") and name not in FINAL and infos.get("_" + name, [True] * (i + 1))[i]
        }

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """What the games show, uint8 [H, W, 3] each, with the render mode "rgb_array"."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the environment, once for each game."""
        return [getattr(self.env, attr_name) for _ in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, which all games share."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the environment, once for all games."""
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result for _ in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No game is wrapped by itself."""
        return [False for _ in self._chosen(indices)]

    def _chosen(self, indices: Any) -> Iterable[int]:
        return self._get_indices(indices)
