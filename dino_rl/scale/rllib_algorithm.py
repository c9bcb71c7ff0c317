"""Training by RLlib, in the run directory, tables and cards of any other run."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms import algorithm as rllib
from ray.rllib.core.rl_module.rl_module import RLModule

from dino_rl.agents.agent import check_loss
from dino_rl.envs.task import Task
from dino_rl.runs import checkpoint
from dino_rl.runs.model_file import save_card
from dino_rl.runs.output import make_directory
from dino_rl.runs.run_directory import BEST_OF_RLLIB
from dino_rl.runs.weights_file import WEIGHTS, check_finite, save_arrays
from dino_rl.scale.rllib import algorithm_config, module_values, module_weights
from dino_rl.scale.rllib_env import read_episodes
from dino_rl.scale.trust import check_signature, sign
from dino_rl.train_config import TrainConfig
from dino_rl.training.algorithm import Slice
from dino_rl.training.finite import check_return
from dino_rl.training.statistics import EpisodeStatistics, mean

# RLlib's names for the numbers of our tables.
LOSS = {"dqn": "qf_loss", "ppo": "total_loss"}
Q_MEAN = "qf_mean"
TRAINED = "num_module_steps_trained"  # transitions, in one iteration
STEPS = ("env_runners", "num_env_steps_sampled_lifetime")


class RLlibAlgorithm:
    """An algorithm of RLlib (an `Algorithm`). A Ray cluster must be there.

    Its checkpoints are pickles, and signed: see `trust.py`. Its best model is plain weights. A restored DQN
    begins with an empty replay memory, because RLlib's checkpoints do not include it.

    Args:
        config: of the run.
        task: what is learned. RLlib makes the environments itself.
        checkpoint_dir: the checkpoint that `restore` will load; None: a new run.
        trust: load the checkpoint even if it was not written on this account.

    Raises:
        ModelError: the checkpoint is of unknown origin.

    Attributes:
        updates: gradient steps so far.
    """

    model_file = BEST_OF_RLLIB
    iteration_columns = ()

    def __init__(
        self, config: TrainConfig, task: Task, checkpoint_dir: Path | None = None, trust: bool = False
    ):
        if checkpoint_dir is not None:
            check_signature(checkpoint_dir, trust)
        spec, algorithm = task.spec, config.algorithm_config
        self._spec = spec
        self._loss = LOSS[config.algo]
        self._learning_rate = algorithm.learning_rate
        self._update_size = algorithm.batch_size if config.algo == "dqn" else algorithm.minibatch_size
        self.interval_columns = ("loss", "q_mean") if config.algo == "dqn" else ("loss",)
        self.episode_columns = EpisodeStatistics(1, spec.actions, spec.info_keys).columns
        self.updates = 0
        self._metrics: list[dict[str, float]] = []
        self._algorithm: rllib.Algorithm = algorithm_config(config, spec.observation.is_image).build_algo()

    @property
    def _module(self) -> RLModule:
        return self._algorithm.get_module()

    def iterate(self, step: int, progress: float) -> Slice:
        """One iteration of RLlib, which lasts about a second. Its schedules follow its own count of steps.

        Raises:
            NotFiniteError: a loss or a return is not finite.
        """
        before, started = self._steps(), time.monotonic()
        results = self._algorithm.train()
        learn_s = time.monotonic() - started
        learned = results.get("learners", {}).get("default_policy")
        if learned:
            metrics = {name: float(learned[name]) for name in (self._loss, Q_MEAN) if name in learned}
            check_loss(metrics[self._loss], f"after step {step:,}", self._learning_rate)
            self._metrics.append(metrics)
            self.updates += round(float(learned[TRAINED]) / self._update_size)
        episodes = read_episodes(results, self._spec)
        for episode in episodes:
            check_return(episode["env"], episode["return"])
        return Slice(self._steps() - before, episodes, learn_s=learn_s)

    def _steps(self) -> int:
        return int(self._algorithm.metrics.peek(STEPS, default=0))

    def act_greedily(self, observations: np.ndarray) -> np.ndarray:
        return module_values(self._module, observations).argmax(axis=1)

    def metrics(self, progress: float) -> dict[str, float]:
        metrics, self._metrics = self._metrics, []
        row = {"loss": mean([each[self._loss] for each in metrics])}
        if "q_mean" in self.interval_columns:
            row["q_mean"] = mean([each[Q_MEAN] for each in metrics])
        return row

    def save(self, run_dir: Path, state: dict[str, Any]) -> None:
        """As `Algorithm.save`.

        Raises:
            NotFiniteError: weights are not finite. The checkpoint before stays.
        """
        check_finite(module_weights(self._module))
        with checkpoint.replacing(run_dir, state | {"updates": self.updates}) as part:
            self._algorithm.save_to_path(part.absolute())
            sign(part)

    def restore(self, run_dir: Path, state: dict[str, Any]) -> None:
        with checkpoint.reading(run_dir) as source:
            self._algorithm.restore_from_path(source.absolute())
            self.updates = int(state["updates"])

    def save_model(self, path: Path, card: dict[str, Any]) -> None:
        """Write the weights of the network that plays to a directory, and its card beside it."""
        make_directory(path)
        save_arrays(path / WEIGHTS, module_weights(self._module))
        save_card(path, card)

    def close(self) -> None:
        self._algorithm.stop()
