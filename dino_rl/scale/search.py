"""A search for hyper-parameters by Ray Tune: many runs, several at a time, and what each needed.

Widths and activations are tried on a grid, each with learning rates drawn log-uniformly. What counts is how
much a trial needs to reach the target return. Equal seeds draw equal trials. So a search that was interrupted
continues by running again: trials that have ended report what they found, and the others continue from their
checkpoints. Tune's own state, which is pickles, is never loaded.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule
from ray.tune.search import BasicVariantGenerator

from dino_rl import recipe
from dino_rl.backend import use_one_thread
from dino_rl.errors import DinoError
from dino_rl.experiment import make_run
from dino_rl.program import command_line
from dino_rl.runs.search_results import Outcome, load_outcomes, save_outcome, trial_name
from dino_rl.scale.config import SearchConfig
from dino_rl.train_config import TrainConfig, to_data
from dino_rl.training.run import Callback, Run

TRIALS = "trials"
Say = Callable[[str], None]
OnProgress = Callable[[float], None]


def search(
    settings: SearchConfig,
    directory: Path,
    say: Say,
    trust: bool = False,
    on_progress: OnProgress = lambda share: None,
) -> list[Outcome]:
    """Run all trials that have not ended. A Ray cluster must be there.

    Args:
        settings: what is tried, and on what.
        directory: the run of each trial is below it.
        say: receives progress, one line at a time.
        trust: continue trials of RLlib even if they were not written on this account.
        on_progress: receives the share of the search that is done, 0 to 1, as if every trial were to need all
            of its steps or minutes.

    Returns:
        the outcomes of all trials that have ended; fewer than `count_trials` if the search was interrupted.

    Raises:
        DinoError: the configuration cannot be tuned.
    """
    config: TrainConfig = settings.run
    if config.engine == "ray":
        raise DinoError("tune runs many trials of one process each: leave --engine ray out.")
    if config.run.stop_return is None:
        raise DinoError("tune needs a target: name one with --stop-return.")
    if config.run.steps is None and config.run.minutes is None:
        raise DinoError("A trial that never reaches the target must end: add --steps or --minutes.")
    trials = (directory / TRIALS).absolute()
    known = {outcome.name: outcome for outcome in load_outcomes(trials)}
    env_runners = config.algorithm_config.env_runners if config.engine == "rllib" else 0
    low, high = settings.learning_rates
    tuner = tune.Tuner(
        tune.with_resources(
            partial(_trial, config=config, trials=trials, known=known, trust=trust),
            tune.PlacementGroupFactory([{"CPU": 1.0}] * (1 + env_runners)),
        ),
        param_space={
            "width": tune.grid_search(list(settings.widths)),
            "activation": tune.grid_search(list(settings.activations)),
            "learning_rate": tune.loguniform(low, high),
        },
        tune_config=tune.TuneConfig(
            num_samples=settings.samples,
            search_alg=BasicVariantGenerator(
                max_concurrent=settings.concurrent, random_state=config.run.seed
            ),
            scheduler=_scheduler(settings),
        ),
        run_config=tune.RunConfig(
            storage_path=str((directory / "tune").absolute()),
            verbose=0,
            callbacks=[_Progress(settings, trials, say, on_progress)],
        ),
    )
    tuner.fit()
    return load_outcomes(trials)


def count_trials(settings: SearchConfig) -> int:
    """Number of trials of a search."""
    return len(settings.widths) * len(settings.activations) * settings.samples


def _scheduler(settings: SearchConfig):
    if settings.scheduler == "none":
        return None
    end, unit = _end_of_trial(settings)
    measure: dict[str, Any] = {
        "time_attr": unit,
        "metric": "return_mean",
        "mode": "max",
        "grace_period": end * settings.grace_share,
    }
    if settings.scheduler == "asha":
        return ASHAScheduler(max_t=end, **measure)
    return MedianStoppingRule(min_samples_required=3, **measure)


def _end_of_trial(settings: SearchConfig) -> tuple[float, str]:
    """Where a trial ends that does not reach the target, and the field of `Outcome` that counts it."""
    run = settings.run.run
    return (run.steps, "steps") if run.steps else (60 * (run.minutes or 0.0), "seconds")


# --- A trial -----------------------------------------------------------------------------------------------


def _trial(
    parameters: dict[str, Any], config: TrainConfig, trials: Path, known: dict[str, Outcome], trust: bool
):
    """One run, in a process of Tune's."""
    name = trial_name(**parameters)
    if name in known:
        tune.report(asdict(known[name]))
        return
    use_one_thread()
    config = recipe.with_network(config, **parameters)
    # Trials are compared by what they need. The best one can be trained again, with validations.
    config = replace(config, run=replace(config.run, validations=0))
    run_dir = trials / name
    with make_run(
        config,
        run_dir,
        [ReportToTune(parameters)],
        command="a trial of tune",
        resume=(run_dir / "checkpoint").exists(),
        trust=trust,
    ) as run:
        run.run()


class ReportToTune(Callback):
    """Reports how far a run is as the `Outcome` that it would have if it ended now.

    Args:
        parameters: of the trial.
    """

    def __init__(self, parameters: Mapping[str, Any]):
        self._parameters = parameters

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        if math.isfinite(run.return_mean):  # schedulers compare it
            self._report(run)

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        self.on_interval(run, row)

    def on_end(self, run: Run) -> None:
        self._report(run)

    def _report(self, run: Run):
        outcome = Outcome(
            **self._parameters,
            reached=run.solved_with is not None,
            steps=run.step,
            seconds=run.seconds,
            return_mean=run.return_mean,
        )
        tune.report(asdict(outcome))


class _Progress(tune.Callback):
    """Says what happens, and saves outcomes, also those of trials that a scheduler ended."""

    def __init__(self, settings: SearchConfig, trials: Path, say: Say, on_progress: OnProgress):
        self._count, self._trials, self._say = count_trials(settings), trials, say
        self._on_progress = on_progress
        self._end, self._unit = _end_of_trial(settings)
        self._numbers: dict[str, int] = {}  # of trials, in the order in which they started
        self._shares: dict[str, float] = {}  # of trials, that are done

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles all that it was given; nothing here ever loads it

    def _say_of(self, trial: Any, what: str):
        number = self._numbers.setdefault(trial.trial_id, len(self._numbers) + 1)
        config = trial.config
        self._say(
            f"trial {number} of {self._count}: width {config['width']}, {config['activation']}, "
            f"learning rate {config['learning_rate']:.3g}: {what}"
        )

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._say_of(trial, "starts")

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self._say_of(trial, f"step {result['steps']:,}, mean return {result['return_mean']:.3g}")
        self._done(trial, min(1.0, result[self._unit] / self._end))

    def _done(self, trial: Any, share: float):
        self._shares[trial.trial_id] = share
        self._on_progress(sum(self._shares.values()) / self._count)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        result = trial.last_result
        self._done(trial, 1.0)
        if "reached" not in result:  # it ended before its first report
            return
        outcome = Outcome(**{name: result[name] for name in Outcome.__dataclass_fields__})
        save_outcome(self._trials, outcome)
        spent = f"{outcome.steps:,} steps and {outcome.seconds:.0f} s"
        self._say_of(
            trial, f"[bold green]reached[/] after {spent}" if outcome.reached else f"ended after {spent}"
        )

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._say_of(trial, f"[bold red]failed[/], see {trial.local_path}/error.txt")


# --- The result --------------------------------------------------------------------------------------------


def train_command(config: TrainConfig, preset: str | None, best: Outcome) -> str:
    """The command line that trains the best trial again.

    Args:
        config: of the search's trials.
        preset: the recipe that it was made from, if one was named.
        best: the trial.
    """
    network: dict[str, Any] = {
        "width": best.width,
        "activation": best.activation,
        "learning_rate": float(f"{best.learning_rate:.6g}"),
    }
    length = {name: getattr(config.run, name) for name in ("seed", "stop_return", "steps", "minutes")}
    which = {"preset": preset} if preset else {"engine": config.engine, "algo": config.algo}
    options: dict[str, Any] = {"env": config.env.id} | which | network | length
    options["num_envs"] = config.env.num_envs
    words = ["train"]
    for name, value in options.items():
        if value is not None:
            text = f"{value:.10g}" if isinstance(value, float) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    # The recipe does not have what came from --config and --set.
    chosen = recipe.choose(
        env=config.env.id,
        algo=config.algo,
        engine=config.engine,
        preset_name=preset,
        num_envs=config.env.num_envs,
        run=length,
        network=network,
    )
    for path, value in _changes(to_data(chosen), to_data(recipe.with_network(config, **network))):
        words += ["--set", f"{path}={json.dumps(value)}"]
    return command_line(*words)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of what differs between two configurations, as plain data."""
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _changes(before, value, f"{prefix}{name}.")
        elif value != before:
            yield f"{prefix}{name}", value
