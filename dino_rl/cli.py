"""The command line: commands and their options, nothing else.

Heavy modules (TensorFlow, the browser) are imported by the command that needs them, so that `--help` answers
at once and a wrong option is refused before anything starts.
"""

import argparse
import importlib
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from dino_rl.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER, DinoError
from dino_rl.settings import ACTIVATIONS, ALGORITHMS, DINO_ID, ENGINES, FILM_SECONDS, PRESETS


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse would print the usage first."""

    def error(self, message: str) -> NoReturn:
        raise DinoError(f"{message} (see {self.prog} --help)")


def _number(kind: Callable, least: float, what: str) -> Callable:
    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


_count = _number(int, 1, "a whole number of 1 or more")
_whole = _number(int, 0, "a whole number of 0 or more")
_minutes = _number(float, 0.01, "a number of minutes above 0")


def _list(kind: Callable) -> Callable:
    def parse(text: str) -> tuple:
        return tuple(kind(part) for part in text.split(","))

    return parse


def _activation(text: str) -> str:
    if text not in ACTIVATIONS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(ACTIVATIONS)}")
    return text


def _range(text: str) -> tuple[float, float]:
    bounds = _list(_rate)(text)
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM,TO")
    return bounds


_rate = _number(float, 1e-9, "a number above 0")
_return = _number(float, -math.inf, "a number")


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(
        prog="run_dino.py",
        description="An agent that learns the real Chrome Dino game from pixels, and other environments.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    train = commands.add_parser(
        "train",
        help="learn to play",
        description="Learn to play. Ctrl-C saves; --resume goes on. The best model of the run, chosen by "
        "greedy games on held-out seeds, is RUN_DIR/best.h5.",
    )
    _add_engine(train)
    train.add_argument("--width", type=_count, metavar="N", help="units of each hidden dense layer")
    train.add_argument(
        "--activation",
        type=_activation,
        metavar="NAME",
        help=f"of the hidden layers: {', '.join(ACTIVATIONS)}",
    )
    train.add_argument("--learning-rate", type=_rate, metavar="R", help="learning rate (at the start)")
    _add_run_length(train)
    train.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where to keep the run (default: runs/DATE)"
    )
    train.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with the run in DIR, with its settings"
    )
    train.add_argument(
        "--watch",
        action="store_true",
        help="show the games in a window; of the Dino, what the network sees too",
    )
    train.set_defaults(command="train")

    tune = commands.add_parser(
        "tune",
        help="search for a network and a learning rate (needs Ray)",
        description="Try all pairs of widths and activations with random learning rates, several trials at "
        "once, and rank them by what they need to reach --stop-return. Ctrl-C keeps what there is; --resume "
        "goes on. Prints the best one as a train command.",
    )
    _add_engine(tune)
    tune.add_argument(
        "--widths", type=_list(_count), metavar="N,N", help="of the hidden dense layers (32,64,128)"
    )
    tune.add_argument(
        "--activations", type=_list(_activation), metavar="A,A", help="of the hidden layers (relu,tanh)"
    )
    tune.add_argument(
        "--learning-rates", type=_range, metavar="FROM,TO", help="drawn log-uniformly (1e-4,1e-2)"
    )
    tune.add_argument("--samples", type=_count, metavar="N", help="learning rates for each pair (default: 1)")
    tune.add_argument("--concurrent", type=_count, metavar="N", help="trials at once (default: 2)")
    tune.add_argument(
        "--metric", choices=["steps", "seconds"], help="what is to be small at the target (default: steps)"
    )
    tune.add_argument(
        "--scheduler",
        choices=["none", "asha", "median"],
        help="end trials early that do worse than others (default: none)",
    )
    _add_run_length(tune)
    tune.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="where to keep it (default: runs/tune-DATE)"
    )
    tune.add_argument("--resume", type=Path, metavar="DIR", help="go on with the search in DIR")
    tune.set_defaults(command="tune")

    play = commands.add_parser(
        "play",
        help="watch a model play",
        description="Watch a model play, in a window where there is a display, else on the terminal.",
    )
    _add_model(play)
    play.add_argument(
        "--clock",
        choices=["lockstep", "live"],
        help="the Dino's: whose time it is (default: live)",
    )
    play.add_argument(
        "--url", choices=["chrome://dino"], help="the Dino's: play on the untouched page (live clock only)"
    )
    play.add_argument(
        "--games", type=_count, metavar="N", help="games to play (default: until the window is closed)"
    )
    play.add_argument("--max-score", type=_count, metavar="M", help="the Dino's: end a game at this score")
    play.add_argument(
        "--seed", type=_whole, default=0, metavar="S", help="first seed; not for live games (default: 0)"
    )
    play.add_argument("--record", type=Path, metavar="FILE.mp4", help="film the games")
    play.add_argument(
        "--overlay", action="store_true", help="show what the network sees and thinks, beside the game"
    )
    play.add_argument("--headless", action="store_true", help="no window: draw the game on the terminal")
    play.set_defaults(command="play")

    record = commands.add_parser(
        "record",
        help="film a model",
        description="Film a model into its run's directory: RUN_DIR/videos/after.mp4. No window, no screen "
        "needed.",
    )
    _add_model(record)
    record.add_argument("--out", type=Path, metavar="FILE.mp4", help="film into this file instead")
    record.add_argument(
        "--before-after", action="store_true", help="film random play, too, of the same seeds: before.mp4"
    )
    record.add_argument(
        "--games", type=_count, default=1, metavar="N", help="games in a film (default: %(default)s)"
    )
    record.add_argument("--seed", type=_whole, default=0, metavar="S", help="seeds S, S+1, ... (default: 0)")
    record.add_argument(
        "--seconds",
        type=_number(float, 0.1, "a number of seconds above 0"),
        default=FILM_SECONDS,
        metavar="S",
        help="end a game after S seconds of film (default: %(default)s)",
    )
    record.add_argument("--max-score", type=_count, metavar="M", help="the Dino's: end a game here")
    record.add_argument(
        "--overlay", action="store_true", help="show what the network sees and thinks, beside the game"
    )
    record.set_defaults(command="record")

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model",
        description="Play greedily, without learning, and report the scores.",
    )
    _add_model(evaluate)
    evaluate.add_argument("--env", metavar="ID", help="environment (default: the model's)")
    evaluate.add_argument(
        "--games", type=_count, default=50, metavar="N", help="games (default: %(default)s)"
    )
    evaluate.add_argument(
        "--seed", type=_whole, default=0, metavar="S", help="seeds S, S+1, ... (default: 0)"
    )
    evaluate.add_argument("--clock", choices=["lockstep", "live"], help="the Dino's (default: lockstep)")
    evaluate.add_argument(
        "--url", choices=["chrome://dino"], help="the Dino's: play on the untouched page (live clock only)"
    )
    evaluate.add_argument(
        "--constant-speed", action="store_true", help="the Dino's: no acceleration, so no birds"
    )
    evaluate.add_argument(
        "--max-score", type=_count, metavar="M", help="the Dino's: end a game here (default: 20000)"
    )
    evaluate.add_argument(
        "--num-envs", type=_count, default=25, metavar="N", help="games side by side (default: %(default)s)"
    )
    evaluate.add_argument(
        "--save-replays",
        type=Path,
        metavar="DIR",
        help="the Dino's: keep each game as a file that replay can check",
    )
    evaluate.add_argument(
        "--against-random", action="store_true", help="play the same games at random too, and compare"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    evaluate.set_defaults(command="evaluate")

    replay = commands.add_parser(
        "replay",
        help="see a kept game again, and check its score",
        description="Play a game that evaluate kept, in lock-step, and say whether its score is the same.",
    )
    replay.add_argument("file", type=Path, metavar="FILE")
    replay.add_argument("--record", type=Path, metavar="FILE.mp4", help="film the game")
    replay.add_argument("--fast", action="store_true", help="on a terminal, do not keep the game's own pace")
    replay.add_argument("--headless", action="store_true", help="no window")
    replay.set_defaults(command="replay")

    benchmark = commands.add_parser(
        "benchmark",
        help="measure the speed on this machine",
        description="Measure the game, the learner and live play on this machine, beside the tutorial's "
        "calls. Takes less than five minutes; let nothing else run.",
    )
    benchmark.add_argument(
        "--seconds",
        type=_number(float, 0.5, "a number of 0.5 or more"),
        default=5.0,
        help="time for each figure",
    )
    benchmark.add_argument("--decisions", type=_count, default=5_000, help="of live play, 30 a second")
    benchmark.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    benchmark.add_argument(
        "--plot", type=Path, metavar="DIR", help="draw there what more games side by side bring and cost"
    )
    benchmark.set_defaults(command="benchmark")

    plot = commands.add_parser(
        "plot", help="draw a run's curves", description="Draw a run's curves as PNG files."
    )
    plot.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    plot.set_defaults(command="plot")

    runs = commands.add_parser(
        "runs",
        help="list what has been trained, or compare runs",
        description="List the runs of a directory, the newest first, or draw some of them over each other.",
    )
    runs.add_argument(
        "directory",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="DIR",
        help="where they lie (default: %(default)s)",
    )
    runs.add_argument(
        "--compare", nargs="+", metavar="RUN", help="draw these, by name or directory, as PNG files in DIR"
    )
    runs.set_defaults(command="runs")
    return parser


def _add_model(command: argparse.ArgumentParser):
    command.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="PATH",
        help="an .h5 file with its card, or a run's directory for its best model",
    )
    _add_trust(command)


def _add_trust(command: argparse.ArgumentParser):
    command.add_argument(
        "--trust",
        action="store_true",
        help="load RLlib's checkpoint although it was not written on this account; it can run any code",
    )


def _add_engine(command: argparse.ArgumentParser):
    """What is to be trained, and by whom: `train` and `tune` ask the same."""
    known = dict.fromkeys(settings.env.id for settings in PRESETS.values() if settings.env.id)
    command.add_argument(
        "--env",
        metavar="ID",
        help=f"a Gymnasium environment with discrete actions: {', '.join(known)}, or any other "
        f"(default: {DINO_ID})",
    )
    command.add_argument("--algo", choices=ALGORITHMS, help="algorithm (default: dqn)")
    command.add_argument(
        "--engine",
        choices=list(ENGINES),
        help="who learns: this project's agents, the same with actors on Ray, or RLlib's (default: keras)",
    )
    command.add_argument(
        "--preset",
        metavar="NAME",
        help=f"settings: {', '.join(PRESETS)} (default: the environment's own)",
    )
    command.add_argument("--actors", type=_whole, metavar="N", help="processes that play (ray and rllib)")
    command.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="join this Ray cluster (default: start one on this machine, reachable from it alone)",
    )
    _add_trust(command)


def _add_run_length(command: argparse.ArgumentParser):
    command.add_argument("--steps", type=_count, metavar="N", help="stop after N environment steps")
    command.add_argument(
        "--minutes", type=_minutes, metavar="M", help="stop after M minutes (default: the preset's)"
    )
    command.add_argument(
        "--num-envs", type=_count, metavar="N", help="games side by side (default: the preset's)"
    )
    command.add_argument("--seed", type=_whole, metavar="S", help="seed of everything random (default: 0)")
    command.add_argument(
        "--stop-return",
        type=_return,
        metavar="R",
        help="stop, solved, when the last 100 episodes have this mean return (default: the preset's)",
    )


def _run(options: argparse.Namespace) -> int:
    # Loaded only now: --help must not wait for TensorFlow.
    module = importlib.import_module(f"dino_rl.commands.{options.command}")
    return getattr(module, options.command)(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # a terminal that is closed must not leave a browser behind
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        try:
            options = build_parser().parse_args(arguments)
            code = _run(options) or EXIT_DONE
        except SystemExit as end:  # argparse, after --help
            code = int(end.code or EXIT_DONE)
        sys.stdout.flush()
        return code
    except DinoError as error:
        print(f"dino-rl: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the last flush quiet
        return EXIT_DONE
    except Exception:  # noqa: BLE001 - whatever is left is a bug, and keeps its traceback
        traceback.print_exc()
        return EXIT_BUG
