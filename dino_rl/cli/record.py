"""`record`: make a video of a model, and of random play before it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.cli import options as shared
from dino_rl.errors import DinoError

if TYPE_CHECKING:
    from dino_rl.training.rollout import Evaluation

HELP = "record a video of a model"
DESCRIPTION = (
    "Record a video of a model into its run's directory: RUN_DIR/videos/after.mp4. Needs no display."
)


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write this .mp4, .webp or .gif file instead"
    )
    parser.add_argument(
        "--before-after", action="store_true", help="record random play of the same seeds, too: before.mp4"
    )
    parser.add_argument(
        "--games", type=shared.count, default=1, metavar="N", help="games in a video (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=shared.game_seed,
        default=0,
        metavar="S",
        help="seeds S, S+1, ... (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=shared.number(float, 0.1, "a number of seconds above 0"),
        metavar="S",
        help="end a game after S seconds of video (default: 90)",
    )
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="show beside the game what the network sees and its values of the actions",
    )
    dino = parser.add_argument_group("the Dino's")
    dino.add_argument("--max-score", type=shared.count, metavar="M", help="end a game at this score")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import load_player
    from dino_rl.recorder import VIDEO_SECONDS, record_model
    from dino_rl.terminal import Progress

    if options.out and options.before_after:
        raise DinoError("--before-after writes two videos, before.mp4 and after.mp4: leave out --out.")
    if options.trust:
        shared.allow_local_modules()
    with Progress("recording") as progress:
        player = load_player(options.model, options.trust)
        record_model(
            player,
            options.out,
            range(options.seed, options.seed + options.games),
            before=options.before_after,
            overlay=options.overlay,
            max_s=options.seconds or VIDEO_SECONDS,
            options=player.task.complete(PlayOptions(max_score=options.max_score)),
            on_video=_print_video,
            on_progress=progress.update,
            on_fault=shared.say_fault,
        )
    return 0


def _print_video(title: str, path: Path, evaluation: "Evaluation"):
    """Who played, how well, and where the video is."""
    from dino_rl.terminal import console, number

    console.print(f"{title}: {', '.join(map(number, evaluation.scores))}; video: {path}")
