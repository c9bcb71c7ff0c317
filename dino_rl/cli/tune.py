"""`tune`: search for a network and a learning rate."""

import argparse
import time
from contextlib import closing, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

from dino_rl.cli import options as shared
from dino_rl.cli.train import chosen_config
from dino_rl.errors import EXIT_DONE, EXIT_INTERRUPTED, DinoError, RunError
from dino_rl.program import command_line
from dino_rl.scale.config import SearchConfig

if TYPE_CHECKING:
    from rich.table import Table

    from dino_rl.runs.search_results import Outcome

HELP = "search for a network and a learning rate (needs Ray)"
DESCRIPTION = (
    "Try all pairs of widths and activations with random learning rates, several trials at a time, and rank "
    "them by what they need to reach --stop-return. Ctrl-C keeps the results so far; --resume continues. "
    "Prints the best one as a train command."
)
SEARCH = "search.json"
FIELDS = ("widths", "activations", "learning_rates", "samples", "concurrent", "metric", "scheduler")


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_recipe(parser)
    search = parser.add_argument_group("the search")

    def add(name: str, type_, metavar: str | None, text: str, **more):
        default = getattr(SearchConfig, name)
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        search.add_argument(
            "--" + name.replace("_", "-"),
            type=type_,
            metavar=metavar,
            help=f"{text} (default: {shown})",
            **more,
        )

    add("widths", shared.values(shared.count), "N,N", "units of the hidden dense layers")
    add("activations", shared.values(shared.activation), "A,A", "of the hidden layers")
    add("learning_rates", shared.value_range, "FROM,TO", "drawn log-uniformly")
    add("samples", shared.count, "N", "learning rates for each pair")
    add("concurrent", shared.count, "N", "trials at a time")
    choices = get_type_hints(SearchConfig)
    add("metric", None, None, "what should be small at the target", choices=get_args(choices["metric"]))
    ends_early = "how trials that do worse than others are ended early"
    add("scheduler", None, None, ends_early, choices=get_args(choices["scheduler"]))
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="directory of the search (default: runs/tune-DATE)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="continue the search in DIR")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.runs.output import check_writable, write_json
    from dino_rl.runs.run_lock import RunLock, new_directory
    from dino_rl.scale import require_ray

    require_ray()
    named: Path | None = options.resume or options.run_dir
    if not options.resume or options.trust:
        shared.allow_local_modules()
    settings = _saved(options.resume) if options.resume else _asked_for(options)
    if named and not options.resume and (named / SEARCH).exists():
        raise RunError(
            f"{named} already holds a search: continue it with --resume {named}, or name another directory."
        )
    default = Path("runs") / time.strftime("tune-%Y-%m-%d-%H%M%S")
    check_writable((named or default) / SEARCH)
    with nullcontext(named) if named else new_directory(default) as directory, closing(RunLock(directory)):
        if not options.resume:
            write_json(directory / SEARCH, asdict(settings))
        return _search(settings, directory, options)


def _search(settings: SearchConfig, directory: Path, options: argparse.Namespace) -> int:
    from dino_rl.runs.search_plot import plot_search
    from dino_rl.runs.search_results import rank, write_ranking
    from dino_rl.scale.cluster import cluster
    from dino_rl.scale.search import count_trials, search, train_command
    from dino_rl.terminal import Progress, console, note, number

    config, total = settings.run, count_trials(settings)
    note(
        f"{total} trials of {config.env.id} by {config.engine} {config.algo}, {settings.concurrent} at a time"
        f", to a mean return of {number(config.run.stop_return or 0.0)}; results in {directory}"
    )
    runners = config.algorithm_config.env_runners if config.engine == "rllib" else 0
    with (
        Progress("searching") as progress,
        cluster(options.ray_address, settings.concurrent * (1 + runners)),
    ):
        outcomes = search(settings, directory, partial(note, markup=True), options.trust, progress.update)
    ranked = rank(outcomes, settings.metric)
    if ranked:
        write_ranking(directory / "ranking.csv", ranked)
        title = f"{config.env.id}, {config.engine} {config.algo}: mean return {config.run.stop_return:g}"
        paths = plot_search(directory, ranked, settings.metric, title)
        console.print(_table(ranked, settings.metric))
        note(f"Written: {directory / 'ranking.csv'}, {', '.join(map(str, paths))}")
    if len(outcomes) < total:
        console.print(
            f"{len(outcomes)} of {total} trials have ended. "
            f"Continue: {command_line('tune', '--resume', directory)}"
        )
        return EXIT_INTERRUPTED
    if not ranked[0].reached:
        console.print("No trial reached the target. The nearest one, to train for longer:")
    console.print(train_command(config, settings.preset, ranked[0]), style="bold")
    return EXIT_DONE


def _asked_for(options: argparse.Namespace) -> SearchConfig:
    from dino_rl.config import from_dict

    given = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    return from_dict(SearchConfig, {"run": chosen_config(options), "preset": options.preset, **given})


def _saved(directory: Path) -> SearchConfig:
    from dino_rl.config import from_dict
    from dino_rl.runs.input import read_json
    from dino_rl.train_config import from_saved

    try:
        data = read_json(directory / SEARCH)
        return from_dict(SearchConfig, {**data, "run": from_saved(data["run"])})
    except (OSError, ValueError, KeyError, TypeError, DinoError) as error:
        raise RunError(f"{directory} holds no search: it has no readable {SEARCH}.") from error


def _table(ranked: "list[Outcome]", metric: str) -> "Table":
    from rich.table import Table

    from dino_rl.terminal import number

    table = Table("rank", "width", "activation", "learning rate", "target", "steps", "seconds", "mean return")
    for place, each in enumerate(ranked, 1):
        table.add_row(
            *(str(place), str(each.width), each.activation, f"{each.learning_rate:.3g}"),
            *("reached" if each.reached else "-", number(each.steps), number(each.seconds)),
            number(each.return_mean),
        )
    table.caption = f"by {metric} to the target"
    return table
