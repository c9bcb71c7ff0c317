"""`tune`: search for a network and a learning rate."""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from dino_rl.commands.train import chosen_settings, with_options
from dino_rl.errors import EXIT_DONE, EXIT_INTERRUPTED, RunError
from dino_rl.results.output import check_writable, write_text
from dino_rl.results.search import Outcome, plot_search, rank, write_ranking
from dino_rl.settings import SearchSettings, from_dict
from dino_rl.terminal import console, number

SEARCH = "search.json"


def tune(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.scale.cluster import cluster  # says so in one line if there is no Ray
    from dino_rl.scale.search import count_trials, search, train_command

    directory: Path = (
        options.resume or options.run_dir or Path("runs") / time.strftime("tune-%Y-%m-%d-%H%M%S")
    )
    settings = _saved(directory) if options.resume else _asked_for(options)
    if not options.resume:
        if (directory / SEARCH).exists():
            raise RunError(
                f"{directory} already holds a search: go on with --resume {directory}, or name another."
            )
        check_writable(directory / SEARCH)
        write_text(directory / SEARCH, json.dumps(asdict(settings), indent=2) + "\n")
    run, total = settings.run, count_trials(settings)
    console.print(
        f"{total} trials of {run.env.id} by {run.engine} {run.algorithm}, {settings.concurrent} at once, to "
        f"a mean return of {number(run.stop_return or 0.0)}; all lies in {directory}"
    )
    runners = run.rllib.env_runners if run.engine == "rllib" else 0
    with cluster(options.ray_address, settings.concurrent * (1 + runners)):
        outcomes = search(settings, directory, console.print, options.trust)
    ranked = rank(outcomes, settings.metric)
    if ranked:
        write_ranking(directory / "ranking.csv", ranked)
        title = f"{run.env.id}, {run.engine} {run.algorithm}: mean return {run.stop_return:g}"
        paths = plot_search(directory, ranked, settings.metric, title)
        console.print(_table(ranked, settings.metric))
        console.print(f"Written: {directory / 'ranking.csv'}, {', '.join(map(str, paths))}")
    if len(outcomes) < total:
        console.print(
            f"{len(outcomes)} of {total} trials have ended. "
            f"Go on: python run_dino.py tune --resume {directory}"
        )
        return EXIT_INTERRUPTED
    if not ranked[0].reached:
        console.print("No trial reached the target. The nearest one, to be tried for longer:")
    console.print(train_command(run, settings.preset, ranked[0]), style="bold")
    return EXIT_DONE


def _asked_for(options: argparse.Namespace) -> SearchSettings:
    run = with_options(chosen_settings(options), options)
    given = {
        name: getattr(options, name)
        for name in (
            "widths",
            "activations",
            "learning_rates",
            "samples",
            "concurrent",
            "metric",
            "scheduler",
        )
        if getattr(options, name) is not None
    }
    return replace(SearchSettings(run=run, preset=options.preset), **given)


def _saved(directory: Path) -> SearchSettings:
    try:
        return from_dict(SearchSettings, json.loads((directory / SEARCH).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{directory} holds no search: it has no {SEARCH} that can be read.") from error


def _table(ranked: list[Outcome], metric: str) -> Table:
    table = Table("rank", "width", "activation", "learning rate", "target", "steps", "seconds", "mean return")
    for place, each in enumerate(ranked, 1):
        table.add_row(
            *(str(place), str(each.width), each.activation, f"{each.learning_rate:.3g}"),
            *("reached" if each.reached else "-", number(each.steps), number(each.seconds)),
            number(each.return_mean),
        )
    table.caption = f"by {metric} to the target"
    return table
