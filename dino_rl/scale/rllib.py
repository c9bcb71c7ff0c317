"""RLlib's own DQN and PPO on our environments: how one is set up, and how what it learned plays."""

import logging
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

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
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.tune.registry import register_env

from dino_rl.envs.catalog import interface, make_training_env
from dino_rl.errors import ModelError
from dino_rl.results.model import Trained
from dino_rl.results.statistics import EpisodeStatistics
from dino_rl.scale.trust import check
from dino_rl.settings import DRAWN_SEEDS_FROM, EnvSettings, RLlibSettings, RunSettings

# RLlib announces its API with each algorithm that is built, and what it will no longer have one day.
for _name in ("ray", "ray.rllib"):
    logging.getLogger(_name).setLevel(logging.ERROR)

ENDED = "episode_ended"
ENV = "dino-rl"  # the name that RLlib knows a run's environment by
# The compact network of dino_rl.agents.networks, as RLlib writes it: filters, kernel, stride, padding.
CONV_FILTERS = [[16, 8, 4, "valid"], [32, 4, 2, "valid"], [64, 3, 2, "valid"]]
INITIAL_ACTIONS = "initial_action_weights"  # of PPO, in the model's configuration
VALUES_AT_ONCE = 256  # observations; the memory that a larger batch needs costs more than its arithmetic


class _ByteImages:
    """For modules that are shown images in bytes: their convolutions see numbers between -1 and 1, about 0.

    Scaling inside the network keeps images in bytes on their whole way: episodes, replay, and the wire.
    """

    def setup(self):
        super().setup()  # type: ignore[misc]
        for part in self.modules():  # type: ignore[attr-defined]
            if isinstance(part, TorchCNN):
                part.register_forward_pre_hook(_centre)


def _centre(_module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Each picture around its mean: a background that is the same everywhere would drown all that moves."""
    pictures = inputs[0].float().mul_(1 / 255)
    return (pictures.sub_(pictures.mean(dim=(1, 2), keepdim=True)),)


class DQNModule(_ByteImages, DefaultDQNTorchRLModule):
    """RLlib's DQN networks."""


class PPOModule(_ByteImages, DefaultPPOTorchRLModule):
    """RLlib's PPO networks, whose policy can begin near given probabilities of the actions."""

    def setup(self):
        super().setup()
        weights = self.model_config.get(INITIAL_ACTIONS)
        if weights:
            output = [part for part in self.pi.modules() if isinstance(part, torch.nn.Linear)][-1]
            with torch.no_grad():
                output.bias.copy_(torch.tensor(weights[: output.out_features]).log())

    def compute_values(self, batch, embeddings=None):
        """Of states, float32 [B]; without `embeddings`, as advantages are made of, without a gradient."""
        if embeddings is not None:
            return super().compute_values(batch, embeddings)
        with torch.no_grad():
            pieces = batch[Columns.OBS].split(VALUES_AT_ONCE)
            return torch.cat([super(PPOModule, self).compute_values({Columns.OBS: each}) for each in pieces])


def algorithm_config(settings: RunSettings, is_image: bool) -> AlgorithmConfig:
    """RLlib's configuration of a run, whose `algorithm` is "dqn" or "ppo", on images or vectors."""
    of = settings.rllib
    register_env(ENV, partial(_make_env, settings.env))
    return (
        (_dqn(of) if settings.algorithm == "dqn" else _ppo(of))
        .environment(ENV)
        .env_runners(
            num_env_runners=of.env_runners,
            num_envs_per_env_runner=settings.env.num_envs,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .callbacks(on_episode_end=_note_end)
        .fault_tolerance(restart_failed_env_runners=True)
        .learners(num_gpus_per_learner=int(torch.cuda.is_available()))
        .rl_module(rl_module_spec=module_spec(settings, is_image))
        .reporting(min_time_s_per_iteration=1, min_sample_timesteps_per_iteration=0)
        .debugging(seed=settings.seed, log_level="ERROR")
    )


def module_spec(settings: RunSettings, is_image: bool) -> RLModuleSpec:
    """What RLlib makes a run's networks from."""
    of = settings.rllib
    # After convolutions RLlib has no hidden layers but those of the heads.
    encoder, heads = ((), of.hidden_units) if is_image else (of.hidden_units, ())
    model = DefaultModelConfig(
        fcnet_hiddens=list(encoder),
        fcnet_activation=of.activation,
        conv_filters=CONV_FILTERS,
        conv_kernel_initializer="orthogonal_",
        conv_kernel_initializer_kwargs={"gain": 2**0.5},  # of relu
        head_fcnet_hiddens=list(heads),
        head_fcnet_activation=of.activation,
    )
    return RLModuleSpec(
        module_class=DQNModule if settings.algorithm == "dqn" else PPOModule,
        model_config={**asdict(model), INITIAL_ACTIONS: of.initial_action_weights},
    )


def _make_env(settings: EnvSettings, context: dict) -> gymnasium.vector.VectorEnv:
    return _Counting(make_training_env(settings), settings)


class _Counting(gymnasium.vector.VectorWrapper):
    """Says in `info[ENDED]` how an episode went: its environment, and the numbers of `EpisodeStatistics`.

    And moves RLlib's seeds to where training draws its own: no game of an evaluation is met in training.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, settings: EnvSettings):
        super().__init__(env)
        made_for = interface(env, settings)
        self._statistics = EpisodeStatistics(env.num_envs, made_for.actions, made_for.watched)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(self, *, seed=None, options=None):
        seed = None if seed is None else DRAWN_SEEDS_FROM + seed
        observations, infos = self.env.reset(seed=seed, options=options)
        self._ended[:] = False
        self._statistics.begin(~self._ended, infos)
        return observations, infos

    def step(self, actions):
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self._statistics.step(actions, rewards)
        first, self._ended = self._ended, terminated | truncated
        if self._ended.any():
            rows = [
                (i, *self._statistics.episode(i, infos).values()) if over else ()
                for i, over in enumerate(self._ended)
            ]
            infos[ENDED], infos["_" + ENDED] = np.array([*rows, None], object)[:-1], self._ended
        self._statistics.begin(first, infos)
        return observations, rewards, terminated, truncated, infos


def _note_end(*, episode: SingleAgentEpisode, metrics_logger: MetricsLogger, **_):
    metrics_logger.log_value(ENDED, episode.get_infos(-1)[ENDED], reduce="item_series")


def _dqn(of: RLlibSettings) -> DQNConfig:
    return DQNConfig().training(
        lr=of.learning_rate,
        gamma=of.discount,
        # RLlib leaves out what is nearer to an episode's end than n: with n = 5 alone, the last four states
        # before a crash would never be learned. With n between 1 and 5, at random, all of them are.
        n_step=(1, of.n_step + 1) if of.n_step > 1 else 1,
        double_q=True,
        dueling=True,
        epsilon=[(0, of.epsilon_start), (of.epsilon_steps, of.epsilon_end)],
        train_batch_size_per_learner=of.batch_size,
        training_intensity=of.replay_ratio,
        num_steps_sampled_before_learning_starts=of.learning_starts,
        target_network_update_freq=of.target_update_period,
        grad_clip=10.0,
        replay_buffer_config={
            "type": "PrioritizedEpisodeReplayBuffer",
            "capacity": of.replay_capacity,
            "alpha": 0.6,
            "beta": 0.4,
        },
    )


def _ppo(of: RLlibSettings) -> PPOConfig:
    return PPOConfig().training(
        lr=of.learning_rate,
        gamma=of.discount,
        lambda_=of.gae_lambda,
        train_batch_size_per_learner=of.batch_size,
        minibatch_size=of.minibatch_size,
        num_epochs=of.epochs,
        vf_loss_coeff=of.value_loss_coefficient,
        entropy_coeff=of.entropy_coefficient,
    )


class RLlibModel(Trained):
    """What RLlib trained, ready to play greedily.

    Args:
        path: the directory `best` of a run, with its card beside it.
        trust: load it even if it was not written on this account.

    Raises:
        ModelError: missing, damaged, of doubtful origin, or not what its card says.
    """

    def __init__(self, path: Path, trust: bool = False):
        super().__init__(path)
        check(path, trust)
        try:
            self._module = RLModule.from_checkpoint(path)
        except (OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(f"{path} is damaged, or not a checkpoint of RLlib ({error!r}).") from error

    def values(self, observations: np.ndarray) -> np.ndarray:
        return module_values(self._module, observations)


def module_values(module: RLModule, observations: np.ndarray) -> np.ndarray:
    """Q-values of a DQN module, probabilities of a PPO module: [B, ...] -> float32 [B, A]."""
    batch = {Columns.OBS: torch.as_tensor(observations)}
    with torch.no_grad():
        if isinstance(module, DQNModule):
            values = module.compute_q_values(batch)[QF_PREDS]
        else:
            values = torch.softmax(module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS], dim=1)
    return values.numpy()
