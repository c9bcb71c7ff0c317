"""`train`: learn to play."""

import argparse
import json
import sys
import time
from pathlib import Path

from dino_rl.cli import options as shared
from dino_rl.errors import EXIT_DONE, EXIT_INTERRUPTED, DinoError, RunError

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
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show the games in a window; of the Dino, what the network sees, too",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl import recipe
    from dino_rl.experiment import cluster_for
    from dino_rl.runs.output import check_writable

    length = {name: getattr(options, name) for name in ("steps", "minutes", "stop_return")}
    if options.resume:
        shared.refuse(options, FIXED, "--resume continues with the configuration of the run")
        run_dir = options.resume
        config = recipe.with_options(saved_config(run_dir), length, actors=options.actors)
    else:
        run_dir = options.run_dir or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
        config = chosen_config(options)
        if (run_dir / "run.json").exists():
            raise RunError(
                f"{run_dir} already holds a run: continue it with --resume {run_dir}, or name another."
            )
        check_writable(run_dir / "run.json")
    with cluster_for(config, options.ray_address):
        return _train(config, run_dir, options)


def _train(config, run_dir: Path, options: argparse.Namespace) -> int:
    from dino_rl.cli.training_view import TrainingView
    from dino_rl.experiment import make_run
    from dino_rl.interrupt import stop_on_signals
    from dino_rl.runs.plots import plot_run
    from dino_rl.terminal import console, number

    command = "python run_dino.py " + " ".join(sys.argv[1:])
    with make_run(
        config,
        run_dir,
        [TrainingView()],
        command=command,
        resume=bool(options.resume),
        watch=options.watch,
        trust=options.trust,
    ) as run:
        console.print(f"Training {config.env.id} by {config.algo}; the run is in {run_dir}")
        with stop_on_signals(run):
            run.run()
    if run.stopped:
        console.print(f"Interrupted and saved. Continue: python run_dino.py train --resume {run_dir}")
        return EXIT_INTERRUPTED
    if run.solved_with is not None:
        console.print(
            f"[bold green]solved[/]: mean return {number(run.solved_with)} over the last 100 episodes, "
            f"after {run.step:,} steps, {run.episodes:,} episodes and {run.minutes:.1f} minutes"
        )
    if run.out_of_time and run.progress < 0.95:
        console.print(f"The time limit ended the run, after {run.progress:.0%} of its planned steps.")
    if run.episodes:
        for path in plot_run(run_dir):
            console.print(f"Plot: {path}")
    if (run_dir / run.algorithm.model_file).exists():
        model = run_dir / "best.h5" if run.algorithm.model_file == "best.h5" else run_dir
        console.print(f"Done. Watch it: python run_dino.py play --model {model}")
    else:
        console.print(f"Done. No model was saved: the run in {run_dir} had no validation.")
    return EXIT_DONE


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
    from dino_rl.train_config import from_saved

    try:
        return from_saved(json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError, DinoError) as error:
        raise RunError(f"{run_dir} is not a run directory: it has no readable run.json.") from error
