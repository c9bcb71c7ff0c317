"""Options that several commands share, and the types of their values."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dino_rl.activation import Activation
from dino_rl.errors import DinoError, EnvError
from dino_rl.resources import shipped_model

if TYPE_CHECKING:
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import Player

MOST = 1e15  # of any number: times and counts beyond it cannot be computed with

# --- Types of values --------------------------------------------------------------------------------------


def number(kind: Callable, least: float, what: str, most: float = MOST) -> Callable:
    """An argparse type: a number of a kind, from a least one to a greatest one."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is not None and value > MOST:
            raise argparse.ArgumentTypeError(f"{text!r} is too large: use at most {MOST:g}")
        if value is None or not least <= value <= most:  # NaN is not
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


count = number(int, 1, "a whole number of 1 or more")
environments = number(int, 1, "a whole number from 1 to 4096", 4096)
whole = number(int, 0, "a whole number of 0 or more")
seed = number(int, 0, "a whole number from 0 to 4294967295", 2**32 - 1)
game_seed = number(int, 0, "a whole number from 0 to 2147483647", 2**31 - 1)  # training draws larger ones
minutes = number(float, 0.01, "a number of minutes above 0")
rate = number(float, 1e-9, "a number above 0")
any_number = number(float, -MOST, "a number")


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
        default=shipped_model(),
        metavar="PATH",
        help="an .h5 file with its card beside it, a run's directory for its best model, or a folder that "
        "export-hub wrote (default: the model that comes with this project)",
    )
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser):
    """Whether pickles of unknown origin are loaded."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load a checkpoint of RLlib that was not written on this account, and import an environment of "
        "a model or a run from the current directory; both can run any code",
    )


def add_recipe(parser: argparse.ArgumentParser):
    """What is trained, and by which algorithm: `train` and `tune` have the same options."""
    group = parser.add_argument_group("what is trained, and how")
    group.add_argument(
        "--env",
        metavar="ID",
        help="any Gymnasium environment with discrete actions (default: the Dino, ChromeDino-v0)",
    )
    group.add_argument("--algo", choices=["dqn", "cem", "pqn", "ppo"], help="algorithm (default: dqn)")
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
    length.add_argument("--num-envs", type=environments, metavar="N", help="environments that step together")
    length.add_argument("--seed", type=seed, metavar="S", help="seed of everything random")
    length.add_argument(
        "--stop-return",
        type=any_number,
        metavar="R",
        help="stop when the mean return of the last 100 episodes reaches this",
    )


def allow_local_modules():
    """Have an id such as my_env:My-v0 find my_env.py in the current directory, behind all that is installed.

    For an id that the user names, or trusts. The card of a stranger's model can name a module, too, and
    importing it runs code.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def is_local(env_id: str) -> bool:
    """Whether an environment's module is in the current directory."""
    module, colon, _ = env_id.partition(":")
    name = module.partition(".")[0]
    return bool(name and colon) and (Path(name).is_dir() or Path(f"{name}.py").is_file())


port = number(int, 0, "a port from 1 to 65535", 65535)


def add_dashboard(parser: argparse.ArgumentParser):
    """Whether the run is shown on a page."""
    parser.add_argument(
        "--dashboard",
        type=port,
        nargs="?",
        const=0,
        metavar="PORT",
        help="show the run on a page of this machine, whose address is printed (docs/dashboard.md)",
    )


def refuse(options: argparse.Namespace, names: tuple[str, ...], reason: str):
    """Refuse options that would be ignored.

    Raises:
        DinoError: one of them was given.
    """
    for name in given(options, names):
        raise DinoError(f"{reason}: leave out --{name.replace('_', '-')}.")


def given(options: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Those of the options that the user gave."""
    values = {name: getattr(options, name) for name in names}
    return [name for name, value in values.items() if not (value is None or value is False or value == [])]


def add_in_page(parser: Any):
    """Who decides in live games."""
    parser.add_argument(
        "--in-page",
        action=argparse.BooleanOptionalAction,
        help="decide as JavaScript inside the page, as the file that export writes, or in this process (live "
        "clock only; default: in the page, where the model and the other options allow that)",
    )


def choose_in_page(
    options: argparse.Namespace, player: "Player", play: "PlayOptions", others: tuple[str, ...]
) -> "PlayOptions":
    """Decide who decides, where the user did not.

    Args:
        others: options for which this process must play.

    Raises:
        DinoError: the user wants both.
    """
    from dino_rl.export.in_page import can_play_in_page

    if play.in_page:
        refuse(options, others, "--in-page plays without this process")
    if play.in_page is not None:
        return play
    in_page = play.clock == "live" and not given(options, others) and can_play_in_page(player)
    return replace(play, in_page=in_page)


def say_fault(error: EnvError) -> None:
    """Tell the user that the environment failed, and that a new one plays on."""
    from dino_rl.terminal import note

    note(f"{error} Starting again; the games that have ended count.")
