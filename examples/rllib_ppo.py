"""PPO of RLlib, in the environments of a worker: python examples/rllib_ppo.py [ITERATIONS]"""

import sys

import gymnasium
import numpy as np
import ray
from gymnasium.wrappers.vector import TransformObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

PIXELS = gymnasium.spaces.Box(0, 1, (80, 80, 4), np.float32)
# RLlib has no default network for 80x80 pixels. Of each layer: channels, kernel, stride, padding.
CONV_FILTERS = [[16, 8, 4, "valid"], [32, 4, 2, "valid"], [64, 3, 2, "valid"]]


def make_env(context: dict) -> gymnasium.vector.VectorEnv:
    """Many games in one page. A worker is a process of its own, which must import what registers the id."""
    import dino_rl  # noqa: F401 - registers ChromeDino-v0

    num_envs = context["num_envs"]
    env = gymnasium.make_vec("ChromeDino-v0", num_envs=num_envs, decision_interval_frames=4, num_actions=2)
    # RLlib's networks take numbers as they are: here, white becomes 0.
    batch = gymnasium.vector.utils.batch_space(PIXELS, num_envs)
    return TransformObservation(env, lambda frames: np.float32(1 - frames / 255), batch, PIXELS)


def main(iterations: int = 60, num_envs: int = 16, batch_size: int = 2_000) -> list[float]:
    """Train. Returns the mean return of the latest games after each iteration."""
    register_env("dino", make_env)
    config = (
        PPOConfig()
        .environment("dino")
        .env_runners(
            num_env_runners=1,
            num_envs_per_env_runner=num_envs,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .training(train_batch_size_per_learner=batch_size, minibatch_size=250, num_epochs=4)
        .training(lr=5e-4, gamma=0.97, lambda_=0.95, vf_loss_coeff=0.5, entropy_coeff=0.01)
        .rl_module(model_config=DefaultModelConfig(conv_filters=CONV_FILTERS, head_fcnet_hiddens=[256]))
    )
    ray.init(include_dashboard=False)
    algorithm = config.build_algo()
    returns = []
    for iteration in range(iterations):
        result = algorithm.train()["env_runners"]
        returns.append(float(result.get("episode_return_mean", np.nan)))
        print(f"iteration {iteration}: mean return {returns[-1]:.2f}")
    algorithm.stop()
    ray.shutdown()
    return returns


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
