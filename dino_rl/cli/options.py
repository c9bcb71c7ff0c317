"""Options that several commands share, and the types of their values."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from dino_rl.activation import Activation
from dino_rl.errors import DinoError

# --- Types of values --------------------------------------------------------------------------------------


def number(kind: Callable, least: float, what: str) -> Callable:
    """An argparse type: a number of a kind, finite and not below a least one."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


count = number(int, 1, "a whole number of 1 or more")
whole = number(int, 0, "a whole number of 0 or more")
minutes = number(float, 0.01, "a number of minutes above 0")
rate = number(float, 1e-9, "a number above 0")
any_number = number(float, -math.inf, "a number")


def values(kind: Callable) -> Callable:
    """An argparse type: values of a kind, separated by commas."""

    def parse(text: str) -> tuple:
        return tuple(kind(part) for part in text.split(","))

    return parse


def value_range(text: str) -> tuple[float, float]:
    """An argparse type: FROM,TO."""
    bounds = values(rate)(text)
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM,TO")
    return bounds


def activation(text: str) -> str:
    """An argparse type: the name of an activation function."""
    if text not in get_args(Activation):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(get_args(Activation))}")
    return text


# --- Shared options ---------------------------------------------------------------------------------------


def add_model(parser: argparse.ArgumentParser):
    """Which model is used."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="PATH",
        help="an .h5 file with its card beside it, or a run's directory for its best model",
    )
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser):
    """Whether pickles of unknown origin are loaded."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load a checkpoint of RLlib that was not written on this account; it can run any code",
    )


def add_recipe(parser: argparse.ArgumentParser):
    """What is trained, and by which algorithm: `train` and `tune` have the same options."""
    group = parser.add_argument_group("what is trained, and how")
    group.add_argument(
        "--env",
        metavar="ID",
        help="any Gymnasium environment with discrete actions (default: the Dino, ChromeDino-v0)",
    )
    group.add_argument("--algo", choices=["dqn", "cem", "ppo"], help="algorithm (default: dqn)")
    group.add_argument(
        "--engine",
        choices=["keras", "ray", "rllib"],
        help="this project's agents, the same with actors on Ray, or RLlib's algorithms (default: keras)",
    )
    group.add_argument(
        "--preset", metavar="NAME", help="a recipe; `presets` lists them (default: the environment's own)"
    )
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with changes to the recipe, as `presets NAME` prints it",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one field, for example dqn.learning_rate=1e-3; can be given several times",
    )
    group.add_argument(
        "--actors", type=whole, metavar="N", help="processes that play (--engine ray or rllib)"
    )
    group.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="join this Ray cluster (default: start one on this machine, reachable from it alone)",
    )
    add_trust(parser)
    length = parser.add_argument_group("length of the run (defaults: the recipe's)")
    length.add_argument("--steps", type=count, metavar="N", help="stop after N environment steps")
    length.add_argument("--minutes", type=minutes, metavar="M", help="stop after M minutes")
    length.add_argument("--num-envs", type=count, metavar="N", help="environments that step together")
    length.add_argument("--seed", type=whole, metavar="S", help="seed of everything random")
    length.add_argument(
        "--stop-return",
        type=any_number,
        metavar="R",
        help="stop when the mean return of the last 100 episodes reaches this",
    )


def refuse(options: argparse.Namespace, names: tuple[str, ...], reason: str):
    """Refuse options that would be ignored.

    Raises:
        DinoError: one of them was given.
    """
    for name in names:
        if getattr(options, name) not in (None, False, []):
            raise DinoError(f"{reason}: leave out --{name.replace('_', '-')}.")
