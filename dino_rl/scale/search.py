"""A search for hyper-parameters by Ray Tune: many runs, several at once, and the ranking of what they needed.

Networks are tried on a grid, learning rates at random, log-uniformly. What counts is how much it takes to
reach the target return. The same seed draws the same trials: a search that was interrupted goes on by being
made again, where trials that have ended only say how, and others go on from their checkpoints. So nothing
of Tune's own state, which is pickles, is ever loaded.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule
from ray.tune.search import BasicVariantGenerator

from dino_rl.backend import share_cores
from dino_rl.engines import make_trainer
from dino_rl.errors import DinoError
from dino_rl.results.search import Outcome, load_outcomes, save_outcome, trial_name
from dino_rl.settings import RunSettings, SearchSettings, with_network

TRIALS = "trials"
SCHEDULERS = ("none", "asha", "median")
Say = Callable[[str], None]


def search(settings: SearchSettings, directory: Path, say: Say, trust: bool = False) -> list[Outcome]:
    """Run all trials that have not ended; a Ray cluster must be there.

    Args:
        settings: what is tried, and on what.
        directory: each trial's run lies below it.
        say: told of progress, a line at a time.
        trust: go on with RLlib's trials even if they were not written on this account.

    Returns:
        the outcomes of all trials that have ended; fewer than `count_trials` if it was interrupted.

    Raises:
        DinoError: the settings ask for what cannot be tuned.
    """
    run = settings.run
    if run.engine == "ray":
        raise DinoError("tune runs many trials of one process each: leave --engine ray out.")
    if run.stop_return is None:
        raise DinoError("tune needs a target: name one with --stop-return.")
    if run.steps is None and run.minutes is None:
        raise DinoError("A trial that never reaches the target must end: add --steps or --minutes.")
    trials = (directory / TRIALS).absolute()
    known = {outcome.name: outcome for outcome in load_outcomes(trials)}
    slots = [{"CPU": 1.0}] * (1 + (run.rllib.env_runners if run.engine == "rllib" else 0))
    low, high = settings.learning_rates
    tuner = tune.Tuner(
        tune.with_resources(
            partial(_trial, run=run, trials=trials, known=known, trust=trust),
            tune.PlacementGroupFactory(slots),
        ),
        param_space={
            "width": tune.grid_search(list(settings.widths)),
            "activation": tune.grid_search(list(settings.activations)),
            "learning_rate": tune.loguniform(low, high),
        },
        tune_config=tune.TuneConfig(
            num_samples=settings.samples,
            search_alg=BasicVariantGenerator(max_concurrent=settings.concurrent, random_state=run.seed),
            scheduler=_scheduler(settings),
        ),
        run_config=tune.RunConfig(
            storage_path=str((directory / "tune").absolute()),
            verbose=0,
            callbacks=[_Progress(settings, trials, say)],
        ),
    )
    tuner.fit()
    return load_outcomes(trials)


def count_trials(settings: SearchSettings) -> int:
    """How many trials a search makes."""
    return len(settings.widths) * len(settings.activations) * settings.samples


def train_command(settings: RunSettings, preset: str | None, best: Outcome) -> str:
    """What to type to make the best trial again, as long and as thorough as one likes."""
    parts: list[Any] = ["python run_dino.py train --env", settings.env.id]
    parts += ["--preset", preset] if preset else ["--engine", settings.engine, "--algo", settings.algorithm]
    parts += ["--width", best.width, "--activation", best.activation]
    parts += ["--learning-rate", f"{best.learning_rate:.6g}"]
    if settings.engine == "rllib" and settings.rllib.env_runners:
        parts += ["--actors", settings.rllib.env_runners]
    parts += ["--num-envs", settings.env.num_envs, "--seed", settings.seed]
    parts += ["--stop-return", f"{settings.stop_return:g}"]
    parts += ["--steps", settings.steps] if settings.steps else []
    parts += ["--minutes", f"{settings.minutes:g}"] if settings.minutes else []
    return " ".join(map(str, parts))


def _scheduler(settings: SearchSettings):
    if settings.scheduler == "none":
        return None
    run = settings.run
    end, unit = (run.steps, "steps") if run.steps else (60 * (run.minutes or 0.0), "seconds")
    measure: dict[str, Any] = {
        "time_attr": unit,
        "metric": "return_mean",
        "mode": "max",
        "grace_period": end * settings.grace_share,
    }
    if settings.scheduler == "asha":
        return ASHAScheduler(max_t=end, **measure)
    return MedianStoppingRule(min_samples_required=3, **measure)


def _trial(config: dict[str, Any], run: RunSettings, trials: Path, known: dict[str, Outcome], trust: bool):
    """One run, in a process of Tune's."""
    name = trial_name(**config)
    if name in known:
        tune.report(asdict(known[name]))
        return
    share_cores()
    # Trials are compared by what they need; the winner can be trained, and validated, afterwards.
    settings = replace(with_network(run, **config), validations=0)
    run_dir = trials / name
    trainer = make_trainer(settings, run_dir, resume=(run_dir / "checkpoint").exists(), trust=trust)

    def report():
        tune.report(
            asdict(
                Outcome(
                    **config,
                    reached=trainer.solved_with is not None,
                    steps=trainer.step,
                    seconds=trainer.seconds,
                    return_mean=trainer.return_mean,
                )
            )
        )

    try:
        for _ in trainer.run("a trial of tune"):
            if math.isfinite(trainer.return_mean):
                report()
        report()
    finally:
        trainer.close()


class _Progress(tune.Callback):
    """Says what happens, and keeps outcomes: those of trials that a scheduler ended too."""

    def __init__(self, settings: SearchSettings, trials: Path, say: Say):
        self._count, self._trials, self._say = count_trials(settings), trials, say
        self._numbers: dict[str, int] = {}

    def __getstate__(self) -> dict:
        return {}  # Tune keeps a copy of all that it was given, which nobody here ever loads

    def _tell(self, trial, what: str):
        number = self._numbers.setdefault(trial.trial_id, len(self._numbers) + 1)
        config = trial.config
        self._say(
            f"trial {number} of {self._count}: width {config['width']}, {config['activation']}, "
            f"learning rate {config['learning_rate']:.3g}: {what}"
        )

    def on_trial_start(self, iteration: int, trials: list, trial, **info):
        self._tell(trial, "starts")

    def on_trial_result(self, iteration: int, trials: list, trial, result: dict, **info):
        self._tell(trial, f"step {result['steps']:,}, mean return {result['return_mean']:.3g}")

    def on_trial_complete(self, iteration: int, trials: list, trial, **info):
        result = trial.last_result
        if "reached" not in result:  # ended before it had anything to say
            return
        outcome = Outcome(**{name: result[name] for name in Outcome.__dataclass_fields__})
        save_outcome(self._trials, outcome)
        spent = f"{outcome.steps:,} steps and {outcome.seconds:.0f} s"
        self._tell(
            trial, f"[bold green]reached[/] after {spent}" if outcome.reached else f"ended after {spent}"
        )

    def on_trial_error(self, iteration: int, trials: list, trial, **info):
        self._tell(trial, f"[bold red]failed[/], see {trial.local_path}/error.txt")
