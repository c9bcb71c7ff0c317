"""Any Gymnasium environment with discrete actions, as a `Task`."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from dino_rl.envs.gym import make
from dino_rl.envs.gym.make import GymConfig
from dino_rl.envs.task import Pictures, PlayOptions, Task
from dino_rl.errors import DinoError
from dino_rl.spec import ObservationSpec, TaskSpec


class GymTask(Task):
    """A Gymnasium environment: vectors get a dense network, images become stacked grayscale frames."""

    config: GymConfig

    @cached_property
    def spec(self) -> TaskSpec:
        """Observations and actions, read off one environment that is made for it.

        Raises:
            DinoError: the environment is unknown or not installed, or no agent here can learn it.
        """
        env = make.make_vector(self.config, 1, AutoresetMode.DISABLED)
        try:
            space = env.single_observation_space
            assert space.shape is not None
            observation = ObservationSpec(space.shape, np.dtype(space.dtype))
            actions = make.action_names(env, self.config.id)
        finally:
            env.close()
        size = self.config.frame_size
        frame = f"area mean to {size}x{size} grayscale, newest of the stack last"
        return TaskSpec(observation, actions, frame=frame if observation.is_image else None)

    def versions(self) -> dict[str, str]:
        return make.versions(self.config.id)

    def make_training_env(self, pictures: bool = False) -> gymnasium.vector.VectorEnv:
        mode = "rgb_array" if pictures else None
        return make.make_vector(
            self.config, self.config.num_envs, AutoresetMode.NEXT_STEP, mode, training=True
        )

    def make_validation_envs(
        self, num_envs: int, max_score: int | None
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        if max_score is not None:
            raise DinoError(f"{self.config.id} has no maximum score: set run.validation_max_score to null.")
        yield make.make_vector(self.config, num_envs, AutoresetMode.DISABLED)

    def make_evaluation_envs(
        self, num_envs: int, options: PlayOptions
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        yield make.make_vector(self.config, num_envs, AutoresetMode.DISABLED)

    def make_single_env(
        self, options: PlayOptions, window: bool = False, record: bool = False, pictures: bool = False
    ) -> gymnasium.vector.VectorEnv:
        mode = "rgb_array_list" if record else "human" if window else "rgb_array" if pictures else None
        return make.make_vector(self.config, 1, AutoresetMode.DISABLED, mode)

    def make_watch_envs(
        self, num_envs: int, max_score: int, window: bool = False, record: bool = False
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """One environment for each game, because a game that is over must not be stepped."""
        for _ in range(num_envs):
            yield self.make_single_env(PlayOptions(), record=record)

    def pictures(self, env: gymnasium.vector.VectorEnv) -> Pictures | None:
        inner = env.unwrapped
        assert isinstance(inner, gymnasium.vector.SyncVectorEnv), "as `make_vector` makes them"
        if inner.envs[-1].render_mode != "rgb_array":
            return Pictures()
        image: Any = inner.envs[-1].render()
        return Pictures(image=image, game=env.num_envs - 1)
