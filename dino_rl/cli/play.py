"""`play`: watch a model play."""

import argparse
import itertools
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.cli import options as shared
from dino_rl.display import has_display

if TYPE_CHECKING:
    import numpy as np

    from dino_rl.training.rollout import Episode

HELP = "watch a model play"
DESCRIPTION = "Watch a model play, in a window where there is a display, else on the terminal."
GAMES_WITHOUT_WINDOW = 3


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    parser.add_argument(
        "--games",
        type=shared.count,
        metavar="N",
        help=f"games to play (default: until the window is closed; without a window, {GAMES_WITHOUT_WINDOW})",
    )
    parser.add_argument(
        "--seed",
        type=shared.whole,
        default=0,
        metavar="S",
        help="first seed; not for live games (default: %(default)s)",
    )
    parser.add_argument("--record", type=Path, metavar="FILE.mp4", help="record the games as a video")
    parser.add_argument(
        "--overlay",
        action="store_true",
        default=None,
        help="show beside the game what the network sees and its values of the actions",
    )
    parser.add_argument("--headless", action="store_true", help="no window: draw the game on the terminal")
    dino = parser.add_argument_group("the Dino's")
    dino.add_argument("--clock", choices=["lockstep", "live"], help="whose time runs (default: live)")
    dino.add_argument("--url", choices=["chrome://dino"], help="play on the untouched page (live clock only)")
    dino.add_argument("--max-score", type=shared.count, metavar="M", help="end a game at this score")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.backend import use_one_thread
    from dino_rl.envs.task import PlayOptions
    from dino_rl.errors import EnvError
    from dino_rl.player import load_player
    from dino_rl.recorder import record_games
    from dino_rl.runs.overlay import PanelLabels
    from dino_rl.runs.video import check_video
    from dino_rl.terminal import GameView, console
    from dino_rl.training.rollout import play_episodes

    if options.record:
        check_video(options.record)
    # A video has room for the values of any network; of windows only the Dino's has.
    overlay = None if options.record else options.overlay
    given = PlayOptions(clock=options.clock, url=options.url, max_score=options.max_score, overlay=overlay)
    use_one_thread()
    player = load_player(options.model, options.trust)
    task = player.task
    play = task.complete(given, clock="live")
    player.check(task.spec)
    window = has_display() and not options.headless and (task.window_while_recording or not options.record)
    games = options.games or (None if window else GAMES_WITHOUT_WINDOW)
    if not has_display() and not options.headless:
        instead = "the game is drawn on the terminal" if task.shows_frames else "only the scores are shown"
        console.print(f"There is no display for a window: {instead}.")
    env = task.make_single_env(play, window=window, record=bool(options.record))
    view = GameView(enabled=task.shows_frames and not window)
    # Lock-step runs as fast as it can; people watch at the game's own speed.
    pace_s = task.pace_s(play) if window or console.is_terminal else 0.0
    next_step = time.monotonic()

    def act(observations: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        nonlocal next_step
        actions, values = player.act_with_values(observations)
        if options.overlay and task.window_while_recording:
            task.annotate(env, 0, values[0], int(actions[0]), f"score {task.score_of(env):,.0f}")
        if task.shows_frames:
            action = task.spec.actions[int(actions[0])]
            view.show(observations[0, ..., -1], f"score {task.score_of(env):,.0f}   {action}")
        if pace_s:
            next_step = max(next_step + pace_s, time.monotonic() - pace_s)
            time.sleep(max(0.0, next_step - time.monotonic()))
        return actions, values

    try:
        player.warm_up(env.num_envs)
        seeds = itertools.islice(itertools.count(options.seed), games)
        with view if task.shows_frames else nullcontext():
            if options.record:
                labels = PanelLabels("trained agent", task.spec.actions, player.values_are)
                panel = labels if options.overlay else None
                record_games(env, act, seeds, options.record, panel, None, _print_end)
            else:
                play_episodes(env, lambda observations: act(observations)[0], seeds, _print_end)
    except EnvError:
        if not window:
            raise
        console.print("The window was closed.")
    finally:
        env.close()
        if options.record and options.record.exists():
            console.print(f"Video: {options.record}")
    return 0


def _print_end(episode: "Episode"):
    from dino_rl.terminal import console, number

    end = "stopped at" if episode.capped else "ended at"
    console.print(f"{end} {number(episode.score)}")
