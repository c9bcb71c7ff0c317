"""`train`: learn to play."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dino_rl.engines import cluster_for, make_trainer
from dino_rl.envs.catalog import default_settings
from dino_rl.errors import EXIT_DONE, EXIT_INTERRUPTED, DinoError, RunError
from dino_rl.results.iterations import IterationChart
from dino_rl.results.output import check_writable
from dino_rl.results.plots import plot_run
from dino_rl.settings import DINO_ID, RunSettings, from_dict, preset, with_actors, with_network
from dino_rl.terminal import TrainingView, console, number
from dino_rl.train import Trainer


def train(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.resume:
        run_dir = options.resume
        settings = _saved_settings(run_dir)
    else:
        run_dir = options.run_dir or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
        settings = chosen_settings(options)
        if (run_dir / "run.json").exists():
            raise RunError(f"{run_dir} already holds a run: go on with --resume {run_dir}, or name another.")
        check_writable(run_dir / "run.json")
    settings = with_options(settings, options)
    if not options.resume:
        settings = with_network(settings, options.width, options.activation, options.learning_rate)
    with cluster_for(settings, options.ray_address):
        return _run(settings, run_dir, options)


def _run(settings: RunSettings, run_dir: Path, options: argparse.Namespace) -> int:
    trainer = make_trainer(settings, run_dir, bool(options.resume), options.watch, options.trust)
    command = "python run_dino.py " + " ".join(sys.argv[1:])
    made_with = ", ".join(" ".join(item) for item in trainer.made_for.versions.items())
    console.print(
        f"Training {settings.env.id} by {settings.algorithm}"
        f"{' with ' + made_with if made_with else ''}; the run lies in {run_dir}"
    )
    chart = IterationChart(run_dir)
    try:
        with stop_on_signals(trainer), TrainingView() as view:
            for report in trainer.run(command):
                if report.validation:
                    view.validation(report.validation)
                if report.interval:
                    view.interval(report.interval)
                if report.milestone:
                    view.milestone(report.milestone)
                    chart.add(report.milestone)
    finally:
        trainer.close()
        chart.close()
    if trainer.stopped:
        console.print(f"Interrupted and saved. Go on: python run_dino.py train --resume {run_dir}")
        return EXIT_INTERRUPTED
    if trainer.solved_with is not None:
        console.print(
            f"[bold green]solved[/]: mean return {number(trainer.solved_with)} over the last 100 episodes, "
            f"after {trainer.step:,} steps, {trainer.episodes:,} episodes "
            f"and {trainer.seconds / 60:.1f} minutes"
        )
    if trainer.episodes:
        for path in plot_run(run_dir):
            console.print(f"Drawn: {path}")
    console.print(f"Done. Watch it: python run_dino.py play --model {trainer.model_path}")
    return EXIT_DONE


def chosen_settings(options: argparse.Namespace) -> RunSettings:
    """The preset that is named, or the environment's own."""
    if not options.preset:
        return default_settings(options.env or DINO_ID, options.algo or "dqn", options.engine or "keras")
    settings = preset(options.preset)
    if options.engine and options.engine != settings.engine:
        if {options.engine, settings.engine} != {"keras", "ray"}:
            raise DinoError(
                f"The preset {options.preset} is for --engine {settings.engine}: leave one of them out."
            )
        settings = replace(settings, engine=options.engine)
    if options.algo and options.algo != settings.algorithm:
        raise DinoError(
            f"The preset {options.preset} is for --algo {settings.algorithm}: leave one of them out."
        )
    if options.env:
        settings = replace(settings, env=replace(settings.env, id=options.env))
    if not settings.env.id:
        raise DinoError(f"The preset {options.preset} is for any environment: name one with --env.")
    return settings


def _saved_settings(run_dir: Path) -> RunSettings:
    try:
        return from_dict(RunSettings, json.loads((run_dir / "run.json").read_text())["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run_dir} is not a run directory: it has no run.json that can be read.") from error


def with_options(settings: RunSettings, options: argparse.Namespace) -> RunSettings:
    """The settings with what the command line says of them."""
    if options.steps and options.minutes is None:
        settings = replace(settings, minutes=None)
    given = {
        name: getattr(options, name)
        for name in ("steps", "minutes", "seed", "stop_return")
        if getattr(options, name) is not None
    }
    if not options.resume:
        env = settings.env
        if options.num_envs:
            # The share of greedy games stays about what it was; at least one game explores.
            greedy = min(options.num_envs - 1, round(options.num_envs * env.greedy_envs / env.num_envs))
            env = replace(env, num_envs=options.num_envs, greedy_envs=greedy)
        given["env"] = env
    if options.actors is not None:
        settings = with_actors(settings, options.actors)
    return replace(settings, **given)


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C (or its like) ends the run after the step at hand; a second one ends it at once."""

    def stop(number, frame):
        if trainer.stopped:
            raise KeyboardInterrupt
        trainer.stopped = True

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
