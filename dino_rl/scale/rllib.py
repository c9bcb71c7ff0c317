"""RLlib's DQN and PPO for a run of this project: their configuration and their networks."""

import logging
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.torch.primitives import TorchCNN
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

from dino_rl.scale.config import RLlibDQNConfig, RLlibPPOConfig
from dino_rl.scale.rllib_env import ENV, log_episode, register
from dino_rl.train_config import TrainConfig

# RLlib logs a notice of its API for each algorithm that is built, and warnings about its own deprecations.
for _name in ("ray", "ray.rllib"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# The compact network of dino_rl.agents.networks in RLlib's form: filters, kernel, stride, padding.
CONV_FILTERS = [[16, 8, 4, "valid"], [32, 4, 2, "valid"], [64, 3, 2, "valid"]]
INITIAL_ACTIONS = "initial_action_weights"  # key of the model's configuration, for PPO
MAX_VALUES_BATCH = 256  # observations; the memory that a larger batch needs costs more than its arithmetic


# --- Configuration -----------------------------------------------------------------------------------------


def algorithm_config(config: TrainConfig, is_image: bool) -> AlgorithmConfig:
    """RLlib's configuration of a run.

    Args:
        config: of a run with engine "rllib".
        is_image: the observations are images, not vectors.
    """
    algorithm = config.algorithm_config
    register(config.env)
    return (
        (_dqn(algorithm) if config.algo == "dqn" else _ppo(algorithm))
        .environment(ENV)
        .env_runners(
            num_env_runners=algorithm.env_runners,
            num_envs_per_env_runner=config.env.num_envs,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .callbacks(on_episode_end=log_episode)
        .fault_tolerance(restart_failed_env_runners=True)
        .learners(num_gpus_per_learner=int(torch.cuda.is_available()))
        .rl_module(rl_module_spec=module_spec(config, is_image))
        .reporting(min_time_s_per_iteration=1, min_sample_timesteps_per_iteration=0)
        .debugging(seed=config.run.seed, log_level="ERROR")
    )


def module_spec(config: TrainConfig, is_image: bool) -> RLModuleSpec:
    """RLlib's description of a run's networks; arguments as for `algorithm_config`."""
    algorithm = config.algorithm_config
    # After convolutions, RLlib has no hidden layers but those of the heads.
    encoder, heads = ((), algorithm.hidden_units) if is_image else (algorithm.hidden_units, ())
    model = DefaultModelConfig(
        fcnet_hiddens=list(encoder),
        fcnet_activation=algorithm.activation,
        conv_filters=CONV_FILTERS,
        conv_kernel_initializer="orthogonal_",
        conv_kernel_initializer_kwargs={"gain": 2**0.5},  # for relu
        head_fcnet_hiddens=list(heads),
        head_fcnet_activation=algorithm.activation,
    )
    if config.algo == "dqn":
        # With what RLlib adds when it trains, so that the networks can be made again to play.
        return RLModuleSpec(module_class=DQNModule, model_config=_dqn(algorithm).model_config | asdict(model))
    weights = {INITIAL_ACTIONS: algorithm.initial_action_weights}
    return RLModuleSpec(module_class=PPOModule, model_config=asdict(model) | weights)


def _dqn(config: RLlibDQNConfig) -> DQNConfig:
    return DQNConfig().training(
        lr=config.learning_rate,
        gamma=config.discount,
        # RLlib's replay leaves out states that are fewer than n steps from the end of an episode: with n = 5
        # alone, the last four states before a crash are never learned. With n drawn from 1 to 5, all are.
        n_step=(1, config.n_step + 1) if config.n_step > 1 else 1,
        double_q=True,
        dueling=True,
        epsilon=[(0, config.epsilon_start), (config.epsilon_decay_steps, config.epsilon_end)],
        train_batch_size_per_learner=config.batch_size,
        training_intensity=config.samples_per_insert,
        num_steps_sampled_before_learning_starts=config.learning_starts,
        target_network_update_freq=config.target_update_period,
        grad_clip=10.0,
        replay_buffer_config={
            "type": "PrioritizedEpisodeReplayBuffer",
            "capacity": config.replay_capacity,
            "alpha": 0.6,
            "beta": 0.4,
        },
    )


def _ppo(config: RLlibPPOConfig) -> PPOConfig:
    return PPOConfig().training(
        lr=config.learning_rate,
        gamma=config.discount,
        lambda_=config.gae_lambda,
        train_batch_size_per_learner=config.batch_size,
        minibatch_size=config.minibatch_size,
        num_epochs=config.epochs,
        vf_loss_coeff=config.value_loss_coefficient,
        entropy_coeff=config.entropy_coefficient,
    )


# --- Networks ----------------------------------------------------------------------------------------------
# RLlib's checkpoints are pickles that name these classes by this module: both names are part of the format.


class _ByteImages:
    """For modules that receive images as bytes: their convolutions see numbers between -1 and 1, around 0.

    Scaling inside the network keeps images as bytes everywhere else: in episodes, in replay, on the network.
    """

    def setup(self):
        super().setup()  # type: ignore[misc]
        for part in self.modules():  # type: ignore[attr-defined]
            if isinstance(part, TorchCNN):
                part.register_forward_pre_hook(_centre)


def _centre(_module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Subtract its mean from each image: a constant background would drown what moves."""
    images = inputs[0].float().mul_(1 / 255)
    return (images.sub_(images.mean(dim=(1, 2), keepdim=True)),)


class DQNModule(_ByteImages, DefaultDQNTorchRLModule):
    """RLlib's DQN networks."""


class PPOModule(_ByteImages, DefaultPPOTorchRLModule):
    """RLlib's PPO networks, whose first policy can be close to given probabilities of the actions."""

    def setup(self):
        super().setup()
        weights = self.model_config.get(INITIAL_ACTIONS)
        if weights:
            output = [part for part in self.pi.modules() if isinstance(part, torch.nn.Linear)][-1]
            with torch.no_grad():
                output.bias.copy_(torch.tensor(weights[: output.out_features]).log())

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """State values, float32 [B]. Without `embeddings`, which is how advantages ask for them, they have no
        gradient."""
        if embeddings is not None:
            return super().compute_values(batch, embeddings)
        with torch.no_grad():
            parts = batch[Columns.OBS].split(MAX_VALUES_BATCH)
            return torch.cat([super(PPOModule, self).compute_values({Columns.OBS: part}) for part in parts])


def module_values(module: RLModule, observations: np.ndarray) -> np.ndarray:
    """Q-values of a DQN module, probabilities of a PPO module: [B, ...] -> float32 [B, A]."""
    batch = {Columns.OBS: torch.as_tensor(observations)}
    with torch.no_grad():
        if isinstance(module, DQNModule):
            values = module.compute_q_values(batch)[QF_PREDS]
        else:
            values = torch.softmax(module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS], dim=1)
    return values.numpy()


def module_weights(module: RLModule) -> dict[str, np.ndarray]:
    """What a module plays with, by name."""
    return {name: np.asarray(array) for name, array in module.get_state(inference_only=True).items()}
