"""`race`: a person against the agent."""

import argparse

from dino_rl.cli import options as shared
from dino_rl.cli import serve

HELP = "race against a model in your browser"
DESCRIPTION = """
Serve a page in which you and a model play the same game side by side, until Ctrl-C: the same obstacles, best
of three rounds. Keyboard, mouse and touch work. With a reaction delay the model can be beaten.
"""
DELAY = 2  # half of the shipped model's games then end below 239: docs/results.md


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    parser.add_argument(
        "--handicap",
        type=int,
        choices=range(31),
        default=DELAY,
        metavar="FRAMES",
        help="reaction delay of the model, 0 to 30 frames of 1/60 s (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=shared.game_seed, metavar="S", help="seed of the first round (default: a random one)"
    )
    serve.add_address(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    seed = "" if options.seed is None else f"&seed={options.seed}"
    path = f"/game/race.html?handicap={options.handicap}{seed}"
    return serve.serve(options, path, "Race against the model at")
