"""`export-hub`: write a model as a folder for the Hugging Face Hub."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_rl.cli import options as shared
from dino_rl.errors import DinoError

if TYPE_CHECKING:
    from dino_rl.player import Player

HELP = "write a model as a folder for the Hugging Face Hub"
DESCRIPTION = (
    "Write a folder with the weights of a model, its card, its results, a video, and a README.md with the "
    "metadata of the Hugging Face Hub. Upload it with: hf upload USER/NAME DIR. The options --model of all "
    "commands accept such a folder. Needs no network."
)
NEEDED = ("mean", "median", "min", "max", "std", "confidence", "games", "seeds", "env")  # of a result


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the folder")
    shared.add_model(parser)
    parser.add_argument(
        "--games",
        type=shared.whole,
        default=10,
        metavar="N",
        help="evaluate over N games; 0: show the validation that chose the model (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="show this result instead, a file that `evaluate --json` wrote",
    )
    parser.add_argument(
        "--video-seconds",
        type=shared.number(float, 0, "a number of seconds of 0 or more"),
        default=30.0,
        metavar="S",
        help="length of the video; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--license", default="mit", metavar="ID", help="the Hub's id of a license (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.config import to_yaml
    from dino_rl.player import load_player
    from dino_rl.recorder import record_model
    from dino_rl.runs.hub_folder import VIDEO, check_folder, write_folder
    from dino_rl.runs.run_directory import model_of
    from dino_rl.terminal import Progress, console

    if options.trust:
        shared.allow_local_modules()
    check_folder(options.directory)
    if model_of(options.model).is_dir():
        raise DinoError(f"{options.model} is RLlib's: its pickles can run any code and are not for sharing.")
    with Progress("loading the model"):
        player = load_player(options.model, options.trust)
    player.check(player.task.spec)
    if options.evaluation:
        result: dict[str, Any] | None = _saved_result(options.evaluation, player.config.env.id)
    else:
        result = _measure(player, options.games) if options.games else None
    if options.video_seconds:
        with Progress("recording") as progress:
            path = options.directory / VIDEO
            record_model(player, path, max_s=options.video_seconds, on_progress=progress.update)
    for path in write_folder(
        options.directory,
        player.path,
        player.card,
        to_yaml(player.config, comments=False),
        result,
        player.task.spec.score,
        options.license,
    ):
        console.print(f"Written: {path}")
    return 0


def _saved_result(path: Path, env: str) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in NEEDED if name not in result]
    except (OSError, ValueError, TypeError) as error:
        raise DinoError(f"{path} is not a result of evaluate --json: it cannot be read.") from error
    if missing:
        raise DinoError(f"{path} is not a result of evaluate --json: it has no {missing[0]}.")
    if result["env"] != env:
        raise DinoError(f"{path} is of {result['env']}; the model is for {env}.")
    return result


def _measure(player: "Player", games: int) -> dict[str, Any]:
    """What `evaluate` measures by default, over fewer games."""
    from dino_rl.cli.evaluate import MAX_SCORE, play_games
    from dino_rl.envs.task import PlayOptions
    from dino_rl.training.faults import ReplaceableEnvs

    task = player.task
    play = task.complete(PlayOptions(), max_score=MAX_SCORE)
    with ReplaceableEnvs(lambda: task.make_evaluation_envs(games, play)) as envs:
        evaluation = play_games(envs, player.act, range(games), "seed", play.max_score)
    return {
        **evaluation.summary(),
        "seed": 0,
        "algorithm": player.config.algo,
        "env": player.config.env.id,
        **task.versions(),
        **task.report(evaluation.episodes, play),
    }
