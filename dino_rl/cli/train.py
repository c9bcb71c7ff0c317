"""`train`: learn to play."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.cli import options as shared
from dino_rl.cli.show import show_training
from dino_rl.errors import EXIT_DONE, DinoError, RunError
from dino_rl.program import command_line

if TYPE_CHECKING:
    from dino_rl.training.run import Callback

HELP = "learn to play"
DESCRIPTION = (
    "Learn to play. Ctrl-C saves, and --resume continues. The best model of the run, chosen by greedy games "
    "on held-out seeds, is RUN_DIR/best.h5."
)
FIXED = (  # what a resumed run keeps
    *("env", "algo", "engine", "preset", "config", "set", "width", "activation", "learning_rate"),
    *("num_envs", "seed", "run_dir"),
)


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_recipe(parser)
    network = parser.add_argument_group("shorthands for --set")
    network.add_argument("--width", type=shared.count, metavar="N", help="units of each hidden dense layer")
    network.add_argument(
        "--activation", type=shared.activation, metavar="NAME", help="of the hidden layers: relu, tanh, ..."
    )
    network.add_argument("--learning-rate", type=shared.rate, metavar="R", help="learning rate at the start")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="directory of the run (default: runs/DATE)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="continue the run in DIR with its configuration"
    )
    shared.add_dashboard(parser)
    parser.add_argument(
        "--watch", action="store_true", help="show the run on such a page, and open it in your browser"
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=["wandb", "mlflow"],
        help="log to Weights & Biases or MLflow, too; can be given twice (docs/logging.md)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl import recipe
    from dino_rl.experiment import cluster_for
    from dino_rl.runs.output import check_writable
    from dino_rl.runs.run_lock import new_directory

    length = {name: getattr(options, name) for name in ("steps", "minutes", "stop_return")}
    if not options.resume or options.trust:
        shared.allow_local_modules()
    named = options.resume or options.run_dir
    default = Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
    if not options.resume:
        check_writable((named or default) / "run.json")
    if options.resume:
        shared.refuse(options, FIXED, "--resume continues with the configuration of the run")
        config = recipe.with_options(saved_config(options.resume), length, actors=options.actors)
        check_writable(options.resume / "run.json")
    else:
        config = chosen_config(options)
        if named and (named / "run.json").exists():
            raise RunError(
                f"{named} already holds a run: continue it with --resume {named}, or name another."
            )
    with (
        cluster_for(config, options.ray_address),
        nullcontext(named) if named else new_directory(default) as run_dir,
        show_training(
            options.dashboard, config, run_dir, command_line(*sys.argv[1:]), options.watch
        ) as dashboards,
    ):
        return _train(config, run_dir, options, dashboards)


def _train(config, run_dir: Path, options: argparse.Namespace, dashboards: "list[Callback]") -> int:
    from dino_rl.cli.training_view import TrainingView
    from dino_rl.experiment import make_run
    from dino_rl.interrupt import exit_code, stop_on_signals
    from dino_rl.runs.plots import plot_run
    from dino_rl.terminal import Progress, console, note, number

    with Progress("starting"):
        run = make_run(
            config,
            run_dir,
            [TrainingView(), *dashboards],
            command=command_line(*sys.argv[1:]),
            resume=bool(options.resume),
            pictures=bool(dashboards),
            trust=options.trust,
            trackers=dict.fromkeys(options.log),
        )
    trust = ["--trust"] if shared.is_local(config.env.id) else []
    with run:
        note(f"Training {config.env.id} by {config.algo}; the run is in {run_dir}")
        with stop_on_signals(run) as signals, _saying_what_is_safe(run_dir, trust):
            run.run()
    if run.stopped:
        console.print(
            f"Interrupted and saved. Continue: {command_line('train', '--resume', run_dir, *trust)}"
        )
        return exit_code(signals)
    if run.solved_with is not None:
        console.print(
            f"[bold green]solved[/]: mean return {number(run.solved_with)} over the last 100 episodes, "
            f"after {run.step:,} steps, {run.episodes:,} episodes and {run.minutes:.1f} minutes",
            markup=True,
        )
    if run.out_of_time and run.progress < 0.95:
        note(f"The time limit ended the run, after {run.progress:.0%} of its planned steps.")
    if run.episodes:
        for path in plot_run(run_dir):
            note(f"Plot: {path}")
    if config.run.report and run.episodes:
        _report(run_dir)
    if (run_dir / run.algorithm.model_file).exists():
        model = run_dir / "best.h5" if run.algorithm.model_file == "best.h5" else run_dir
        console.print(f"Done. Watch it: {command_line('play', '--model', model, *trust)}")
    else:
        console.print(f"Done. No model was saved: the run in {run_dir} had no validation.")
    return EXIT_DONE


def _report(run_dir: Path):
    """The run is complete: what goes wrong with its report is said, and is no error of the run."""
    from dino_rl.report import write_report
    from dino_rl.terminal import note

    try:
        note(f"Report: {write_report([run_dir])}")
    except Exception as error:  # noqa: BLE001
        note(f"The report could not be written: {error}", style="yellow")


@contextmanager
def _saying_what_is_safe(run_dir: Path, trust: list[str]) -> Iterator[None]:
    """An error that ends a run says what there is to continue from."""
    from dino_rl.runs.checkpoint import load_state

    try:
        yield
    except DinoError as error:
        try:
            step = int(load_state(run_dir)["step"])
        except (DinoError, KeyError, TypeError, ValueError):
            raise type(error)(f"{error} There is no checkpoint.") from error
        again = command_line("train", "--resume", run_dir, *trust)
        raise type(error)(f"{error} The checkpoint of step {step:,} is whole: {again}") from error


def chosen_config(options: argparse.Namespace):
    """The configuration of a new run."""
    from dino_rl import recipe

    return recipe.choose(
        env=options.env,
        algo=options.algo,
        engine=options.engine,
        preset_name=options.preset,
        config_file=options.config,
        num_envs=options.num_envs,
        actors=options.actors,
        run={name: getattr(options, name) for name in ("steps", "minutes", "seed", "stop_return")},
        network={name: getattr(options, name, None) for name in ("width", "activation", "learning_rate")},
        overrides=options.set,
    )


def saved_config(run_dir: Path):
    """The configuration of a run on disk.

    Raises:
        RunError: it cannot be read.
    """
    from dino_rl.runs.input import read_json
    from dino_rl.train_config import from_saved

    try:
        return from_saved(read_json(run_dir / "run.json")["settings"])
    except (OSError, ValueError, KeyError, TypeError, DinoError) as error:
        raise RunError(f"{run_dir} is not a run directory: it has no readable run.json.") from error
