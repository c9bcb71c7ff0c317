"""A training run by RLlib: its algorithm in the run directory, logs and cards of our own trainer."""

import shutil
from collections.abc import Generator
from pathlib import Path

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm

from dino_rl.agents.learner import mean
from dino_rl.errors import DinoError
from dino_rl.results import checkpoint
from dino_rl.results.model import save_card
from dino_rl.scale.rllib import ENDED, algorithm_config, module_values
from dino_rl.scale.trust import check, sign
from dino_rl.settings import RunSettings
from dino_rl.train import Trainer

# What RLlib calls the numbers that our logs have.
LOSS = {"dqn": "qf_loss", "ppo": "total_loss"}
Q_MEAN = "qf_mean"
TRAINED = "num_module_steps_trained"  # transitions, in an iteration
STEPS = ("env_runners", "num_env_steps_sampled_lifetime")


class RLlibTrainer(Trainer):
    """One training run by RLlib. What resumes it are pickles, and so is the best model: see `trust`.

    A resumed DQN begins with an empty replay memory, for RLlib's checkpoints leave it out.

    Args:
        settings, run_dir, resume, watch: as for `Trainer`.
        trust: resume even a run that was not written on this account.

    Raises:
        ModelError: the run to be resumed is of doubtful origin.
        and what `Trainer` raises; a Ray cluster must be there.
    """

    learner: "RLlibLearner"  # type: ignore[assignment]  # of a Learner, what a run asks without our loop

    def __init__(
        self,
        settings: RunSettings,
        run_dir: Path,
        resume: bool = False,
        watch: bool = False,
        trust: bool = False,
    ):
        if watch:
            raise DinoError("RLlib's games have no window: leave --watch out, or train with --engine keras.")
        if resume:
            check(checkpoint.directory(run_dir), trust)
        super().__init__(settings, run_dir, resume)
        self.env.close()  # it has told what it shows; RLlib makes its own

    def _make_learner(self) -> "RLlibLearner":  # type: ignore[override]
        return RLlibLearner(self.settings, self.made_for.is_image)

    def _restore(self, state: dict):
        self.learner.algorithm.restore_from_path(checkpoint.directory(self.run_dir).absolute())
        self.learner.updates = state["updates"]

    def _play_and_learn(self) -> Generator[None, None, None]:
        learner = self.learner
        while self.progress < 1.0 and not self.stopped:
            with self._clock.timed("learn"):
                steps, episodes = learner.iterate()
            self.step += steps
            names = ("score", "return", "length", *self._statistics.columns)
            for env, *numbers in episodes:
                self._count_episode(int(env), False, dict(zip(names, numbers, strict=True)))
            yield None

    @property
    def model_path(self) -> Path:
        return self.run_dir

    def _keep_best(self, card: dict):
        """The network that plays, in the directory `best`, and its card beside it."""
        part, best = self.run_dir / "part-best", self.run_dir / "best"
        shutil.rmtree(part, ignore_errors=True)
        self.learner.module.save_to_path(part.absolute())
        sign(part)
        shutil.rmtree(best, ignore_errors=True)
        part.rename(best)
        save_card(best, card)

    def _write_checkpoint(self, state: dict):
        with checkpoint.replacing(self.run_dir, state | {"updates": self.learner.updates}) as part:
            self.learner.algorithm.save_to_path(part.absolute())
            sign(part)

    def close(self):
        self.learner.algorithm.stop()
        super().close()


class RLlibLearner:
    """RLlib's algorithm, as far as the training run asks the same of it as of our own."""

    episode_columns = ()
    milestone_columns = ()

    def __init__(self, settings: RunSettings, is_image: bool):
        self.interval_columns = ("loss", "q_mean") if settings.algorithm == "dqn" else ("loss",)
        self.algorithm: Algorithm = algorithm_config(settings, is_image).build_algo()
        self.updates = 0
        of = settings.rllib
        self._batch_size = of.batch_size if settings.algorithm == "dqn" else of.minibatch_size
        self._loss = LOSS[settings.algorithm]
        self._numbers: list[dict[str, float]] = []

    @property
    def module(self):
        return self.algorithm.get_module()

    def play(self, observation: np.ndarray) -> np.ndarray:
        """Actions int64 [N] of the finished agent."""
        return module_values(self.module, observation).argmax(axis=1)

    def iterate(self) -> tuple[int, list[tuple[float, ...]]]:
        """About a second of playing and learning.

        Returns:
            environment steps, and the episodes that have ended.
        """
        before = self._steps()
        results = self.algorithm.train()
        learned = results.get("learners", {}).get("default_policy")
        if learned:
            self._numbers.append(
                {name: float(learned[name]) for name in (self._loss, Q_MEAN) if name in learned}
            )
            self.updates += round(float(learned[TRAINED]) / self._batch_size)
        ended = results["env_runners"].get(ENDED, [])
        return self._steps() - before, ended if isinstance(ended, list) else [ended]  # RLlib unpacks one

    def _steps(self) -> int:
        return int(self.algorithm.metrics.peek(STEPS, default=0))

    def interval_numbers(self, progress: float) -> dict[str, float]:
        numbers, self._numbers = self._numbers, []
        row = {"loss": mean([each[self._loss] for each in numbers])}
        if "q_mean" in self.interval_columns:
            row["q_mean"] = mean([each[Q_MEAN] for each in numbers])
        return row
