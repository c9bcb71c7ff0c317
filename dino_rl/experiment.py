"""Puts a run together: a task, an algorithm and callbacks from a configuration."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.agents.agent import Agent
from dino_rl.agents.cem import CEM
from dino_rl.agents.dqn_agent import DQNAgent
from dino_rl.agents.pqn import PQN
from dino_rl.agents.replay import memory_bytes
from dino_rl.backend import keras
from dino_rl.envs.registry import make_task
from dino_rl.envs.task import Task
from dino_rl.errors import DinoError
from dino_rl.machine import available_bytes
from dino_rl.player import count_weights
from dino_rl.runs import checkpoint
from dino_rl.runs.model_file import versions
from dino_rl.runs.output import remove_parts, write_json
from dino_rl.runs.run_directory import ABOUT, SNAPSHOTS, VIDEOS
from dino_rl.runs.run_lock import RunLock
from dino_rl.train_config import TrainConfig, to_data
from dino_rl.training.algorithm import Algorithm
from dino_rl.training.callbacks import (
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
from dino_rl.training.snapshots import Snapshots
from dino_rl.training.trackers import make_tracker
from dino_rl.training.tracking import Track
from dino_rl.workspace import remove_abandoned

AGENTS = {"dqn": DQNAgent, "cem": CEM, "pqn": PQN}
NETWORK_COPIES = 5  # at least: the network, the one it learns from, Adam's two, and the gradients


def make_run(
    config: TrainConfig,
    run_dir: Path,
    callbacks: Sequence[Callback] = (),
    *,
    command: str = "",
    resume: bool = False,
    pictures: bool = False,
    trust: bool = False,
    trackers: Iterable[str] = (),
) -> Run:
    """A training run in its directory, within `cluster_for` its configuration. Close it after use.

    Args:
        config: of the run.
        run_dir: where everything that the run writes goes.
        callbacks: more of them, which receive each event after the run's own.
        command: how the run was started, for the model's card.
        resume: continue the checkpoint in `run_dir`.
        pictures: a callback will ask the task for pictures of the games.
        trust: resume RLlib's pickles even if they were not written on this account.
        trackers: log to these, too: "wandb", "mlflow".

    Raises:
        DinoError: Ray or a tracker is needed and not installed, or the replay memory does not fit.
        RunError: the directory cannot be written, is in use, or holds no checkpoint to resume.
        EnvError, PageError: the environments cannot be made.
    """
    with ExitStack() as opened:
        lock = RunLock(run_dir)
        opened.callback(lock.close)
        for directory in (run_dir, run_dir / VIDEOS, run_dir / SNAPSHOTS):
            remove_parts(directory)
        checkpoint.remove_leftovers(run_dir)
        remove_abandoned()
        state = checkpoint.load_state(run_dir) if resume else None
        task = make_task(config.env)
        check_memory(config, task)
        own = _own_callbacks(config, task, run_dir, command)
        own += [_track(name, config, task, run_dir) for name in trackers]
        algorithm = _make_algorithm(config, task, run_dir, resume, pictures, trust)
        opened.callback(algorithm.close)
        every = [*own, *callbacks, HoldLock(lock)]
        if state is None:
            run = Run(config.run, algorithm, every)
        else:
            with checkpoint.reading(run_dir):
                algorithm.restore(run_dir, state)
                run = Run(config.run, algorithm, every, state)
        opened.pop_all()  # from now on they are the run's
        return run


class HoldLock(Callback):
    """Holds the lock on a run's directory until the run is closed."""

    def __init__(self, lock: RunLock):
        self._lock = lock

    def close(self) -> None:
        self._lock.close()


def check_memory(config: TrainConfig, task: Task) -> None:
    """Refuse a run that cannot fit into memory, before it starts.

    Raises:
        DinoError: its networks or its replay memory need more than there is.
    """
    spec, available = task.spec, available_bytes()
    networks = NETWORK_COPIES * 4 * count_weights(config, spec.observation.shape, spec.num_actions)
    if networks > available:
        raise DinoError(
            f"The networks need {networks / 1e9:,.1f} GB, and {available / 1e9:.1f} GB are available: make "
            "the hidden layers smaller."
        )
    needed = memory_bytes(config.dqn.replay, spec.observation) if config.dqn else 0
    if config.dqn and needed > available:
        remedy = "lower dqn.replay.capacity"
        if spec.observation.is_image and not config.dqn.replay.compressed:
            remedy += ", or set dqn.replay.compressed=true"
        raise DinoError(
            f"The replay memory of {config.dqn.replay.capacity:,} frames needs {needed / 1e9:,.1f} GB, and "
            f"{available / 1e9:.1f} GB are available: {remedy}."
        )


def _make_algorithm(
    config: TrainConfig, task: Task, run_dir: Path, resume: bool, pictures: bool, trust: bool
) -> Algorithm:
    if config.engine == "keras":
        rngs = random_generators(config.run.seed)
        return LocalAlgorithm(task, make_agent(config, task, rngs), rngs, pictures)
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


def _own_callbacks(config: TrainConfig, task: Task, run_dir: Path, command: str) -> list[Callback]:
    """Those of every run, in the order in which they receive events."""
    validation = Validation(task, config.run)

    def make_card(run: Run, **facts: Any) -> dict[str, Any]:
        # The same weights again, on a machine of the same kind.
        repeat = f"{command} --steps {run.budget.total}" if config.run.steps is None else command
        training = {
            "command": command,
            "repeat": repeat,
            "steps": run.step,
            "total_steps": run.budget.total,
            "updates": run.algorithm.updates,
            "minutes": round(run.minutes, 1),
            "seed": run.config.seed,
        }
        return model_card(config, task, training=training, **facts)

    own: list[Callback] = [
        WriteRunInfo(config, task, run_dir),
        CsvLog(run_dir, task.spec.ending_keys),
        KeepBest(run_dir, make_card, validation),
        Snapshots(run_dir, make_card),
        Intervals(),
        validation,
        Checkpoints(run_dir, config.run),
        PlotIterations(run_dir),
    ]
    if config.run.tensorboard:
        own.append(_track("tensorboard", config, task, run_dir))
    if config.run.stop_return is not None:
        own.append(StopAtReturn(config.run.stop_return))
    return own


def _track(name: str, config: TrainConfig, task: Task, run_dir: Path) -> Track:
    """Logs a run to a tracker."""
    values_are = "q_values" if config.algo in ("dqn", "pqn") else "probabilities"
    return Track(make_tracker(name, run_dir), to_data(config), task.spec.actions, values_are)


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
