"""Puts a run together: a task, an algorithm and callbacks from a configuration."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.agents.agent import Agent
from dino_rl.agents.cem import CEM
from dino_rl.agents.dqn_agent import DQNAgent
from dino_rl.backend import keras
from dino_rl.envs.registry import make_task
from dino_rl.envs.task import Task
from dino_rl.errors import DinoError
from dino_rl.runs import checkpoint
from dino_rl.runs.model_file import versions
from dino_rl.runs.output import write_json
from dino_rl.runs.run_directory import ABOUT
from dino_rl.train_config import TrainConfig, to_data
from dino_rl.training.algorithm import Algorithm
from dino_rl.training.callbacks import (
    Annotate,
    Callback,
    Checkpoints,
    CsvLog,
    Intervals,
    KeepBest,
    PlotIterations,
    StopAtReturn,
    Validation,
)
from dino_rl.training.local import LocalAlgorithm
from dino_rl.training.run import Run

AGENTS = {"dqn": DQNAgent, "cem": CEM}


def make_run(
    config: TrainConfig,
    run_dir: Path,
    callbacks: Sequence[Callback] = (),
    *,
    command: str = "",
    resume: bool = False,
    watch: bool = False,
    trust: bool = False,
) -> Run:
    """A training run in its directory, within `cluster_for` its configuration. Close it after use.

    Args:
        config: of the run.
        run_dir: where everything that the run writes goes.
        callbacks: more of them, which receive each event after the run's own.
        command: how the run was started, for the model's card.
        resume: continue the checkpoint in `run_dir`.
        watch: show the games in a window.
        trust: resume RLlib's pickles even if they were not written on this account.

    Raises:
        DinoError: Ray is needed and not installed, or the engine has no window to watch.
        RunError: the directory cannot be written, or there is no checkpoint to resume.
        EnvError, PageError: the environments cannot be made.
    """
    state = checkpoint.load_state(run_dir) if resume else None
    task = make_task(config.env)
    own = _own_callbacks(config, task, run_dir, command, watch)
    algorithm = _make_algorithm(config, task, run_dir, resume, watch, trust)
    try:
        if state is None:
            return Run(config.run, algorithm, [*own, *callbacks])
        with checkpoint.reading(run_dir):
            algorithm.restore(run_dir, state)
            return Run(config.run, algorithm, [*own, *callbacks], state)
    except BaseException:
        algorithm.close()
        raise


def _make_algorithm(
    config: TrainConfig, task: Task, run_dir: Path, resume: bool, watch: bool, trust: bool
) -> Algorithm:
    if config.engine == "keras":
        rngs = random_generators(config.run.seed)
        return LocalAlgorithm(task, make_agent(config, task, rngs), rngs, watch)
    if watch:
        raise DinoError(f"--watch is for --engine keras: games of --engine {config.engine} have no window.")
    from dino_rl.scale import require_ray

    require_ray()
    if config.engine == "ray":
        from dino_rl.scale.apex import ApexAlgorithm

        return ApexAlgorithm(config, task, random_generators(config.run.seed))
    from dino_rl.scale.rllib_algorithm import RLlibAlgorithm

    return RLlibAlgorithm(config, task, checkpoint.directory(run_dir) if resume else None, trust)


def random_generators(seed: int) -> dict[str, np.random.Generator]:
    """A run's streams of random numbers: actions, replay samples, and the environments' seeds."""
    return {name: np.random.default_rng([seed, i]) for i, name in enumerate(("explore", "replay", "env"))}


def make_agent(config: TrainConfig, task: Task, rngs: dict[str, np.random.Generator]) -> Agent:
    """The agent of a run in one process, with initial weights from the run's seed."""
    env = config.env
    keras.utils.set_random_seed(config.run.seed)
    return AGENTS[config.algo](
        config.algorithm_config,
        task.spec.observation,
        task.spec.num_actions,
        env.num_envs,
        env.greedy_envs,
        rngs["explore"],
        rngs["replay"],
    )


def _own_callbacks(
    config: TrainConfig, task: Task, run_dir: Path, command: str, watch: bool
) -> list[Callback]:
    """Those of every run, in the order in which they receive events."""
    validation = Validation(task, config.run)

    def make_card(training: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        # The same weights again, on a machine of the same kind.
        repeat = f"{command} --steps {training['total_steps']}" if config.run.steps is None else command
        facts = {"command": command, "repeat": repeat, **training}
        return model_card(config, task, training=facts, validation=result)

    own: list[Callback] = [
        WriteRunInfo(config, task, run_dir),
        CsvLog(run_dir),
        KeepBest(run_dir, make_card, validation),
        Intervals(),
        validation,
        Checkpoints(run_dir, config.run),
        PlotIterations(run_dir),
    ]
    if watch:
        own.append(Annotate(task))
    if config.run.stop_return is not None:
        own.append(StopAtReturn(config.run.stop_return))
    return own


class WriteRunInfo(Callback):
    """Writes run.json: the configuration, the names of the actions, and versions."""

    def __init__(self, config: TrainConfig, task: Task, run_dir: Path):
        self._info = {
            "settings": to_data(config),
            "actions": task.spec.actions,
            "score": task.spec.score,
            "versions": versions(task.versions()),
        }
        self._path = run_dir / ABOUT

    def on_start(self, run: Run) -> None:
        write_json(self._path, self._info)


def model_card(config: TrainConfig, task: Task, **facts: Any) -> dict[str, Any]:
    """What is known of a model, as plain data."""
    spec = task.spec
    return {
        "algorithm": config.algo,
        "observation_shape": spec.observation.shape,
        "observation_dtype": str(spec.observation.dtype),
        "num_actions": spec.num_actions,
        "actions": spec.actions,
        "frame": spec.frame,
        "versions": versions(task.versions()),
        **facts,
        "settings": to_data(config),
    }


def cluster_for(config: TrainConfig, address: str | None = None) -> AbstractContextManager[None]:
    """The Ray cluster that a run needs, if it needs one.

    Raises:
        DinoError: Ray is needed and not installed, or an address was given for nothing.
    """
    if config.engine == "keras":
        if address:
            raise DinoError("--ray-address is for --engine ray or rllib: leave it out, or add one of them.")
        return nullcontext()
    from dino_rl.scale import require_ray

    require_ray()
    from dino_rl.scale.cluster import cluster

    workers = config.actors.actors if config.actors else config.algorithm_config.env_runners
    return cluster(address, workers)
