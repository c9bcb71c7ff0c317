"""`play`: watch a model play."""

import argparse
import itertools
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dino_rl.cli import options as shared
from dino_rl.cli.show import show_playing
from dino_rl.display import has_display

if TYPE_CHECKING:
    import numpy as np
    from gymnasium.vector import VectorEnv

    from dino_rl.browser.observation import Observation
    from dino_rl.dashboard.board import Board
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import Player
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
        help="games to play (default: until the window is closed, or Ctrl-C with a dashboard; without them, "
        f"{GAMES_WITHOUT_WINDOW})",
    )
    parser.add_argument(
        "--seed",
        type=shared.game_seed,
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
    parser.add_argument(
        "--watch-learning",
        type=Path,
        metavar="RUN_DIR",
        help="play one seed with the models of a run as it learned, one above the other, in a window or, "
        "with --record, as a video",
    )
    shared.add_dashboard(parser)
    dino = parser.add_argument_group("the Dino's")
    dino.add_argument("--clock", choices=["lockstep", "live"], help="whose time runs (default: live)")
    dino.add_argument("--url", choices=["chrome://dino"], help="play on the untouched page (live clock only)")
    dino.add_argument("--max-score", type=shared.count, metavar="M", help="end a game at this score")
    shared.add_in_page(dino)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.backend import use_one_thread
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import load_player
    from dino_rl.runs.video import check_video
    from dino_rl.terminal import Progress, note

    if options.trust:
        shared.allow_local_modules()
    if options.watch_learning:
        return _watch_learning(options)
    if options.record:
        check_video(options.record)
    # A video has room for the values of any network; of windows only the Dino's has.
    overlay = None if options.record else options.overlay
    given = PlayOptions(
        clock=options.clock,
        url=options.url,
        max_score=options.max_score,
        overlay=overlay,
        in_page=options.in_page,
    )
    use_one_thread()
    with Progress("loading the model"):
        player = load_player(options.model, options.trust)
    task = player.task
    play = shared.choose_in_page(options, player, task.complete(given, clock="live"), ("record", "dashboard"))
    player.check(task.spec)
    window = has_display() and not options.headless and (task.window_while_recording or not options.record)
    endless = window or options.dashboard is not None
    games = options.games or (None if endless else GAMES_WITHOUT_WINDOW)
    if not has_display() and not options.headless:
        instead = "the game is drawn on the terminal" if task.shows_frames else "only the scores are shown"
        note(f"There is no display for a window: {instead}.")
    if play.in_page:
        return _play_in_page(player, play, games, window)
    with show_playing(options.dashboard, "play", player, 1, {"clock": play.clock, "page": play.url}) as board:
        return _play(options, player, play, games, window, board)


def _play(
    options: argparse.Namespace,
    player: "Player",
    play: "PlayOptions",
    games: int | None,
    window: bool,
    board: "Board | None",
) -> int:
    """Games in an environment, to be seen in a window, on the terminal, in a video or on a dashboard."""
    from dino_rl.errors import WindowClosedError
    from dino_rl.recorder import record_games
    from dino_rl.runs.overlay import PanelLabels
    from dino_rl.terminal import GameView, Progress, console, note
    from dino_rl.training.faults import ReplaceableEnvs

    task = player.task
    tally = None
    if board:
        from dino_rl.dashboard.watched import Tally, Watched

        tally = Tally(board, games)

    def make_envs() -> "list[VectorEnv]":
        record = bool(options.record)
        env = task.make_single_env(play, window=window, record=record, pictures=board is not None)
        return [Watched(env, board) if board else env]

    with Progress("starting the game"):
        replaceable = ReplaceableEnvs(make_envs, shared.say_fault)
    view = GameView(enabled=task.shows_frames and not window)
    # Lock-step runs as fast as it can; people watch at the game's own speed.
    pace_s = task.pace_s(play) if window or board or console.is_terminal else 0.0
    next_step = time.monotonic()

    def act(observations: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        nonlocal next_step
        actions, values = player.act_with_values(observations)
        env = replaceable.envs[0]
        if options.overlay and task.window_while_recording:
            task.annotate(env, values[0], int(actions[0]), f"score {task.score_of(env):,.0f}")
        if task.shows_frames:
            action = task.spec.actions[int(actions[0])]
            view.show(observations[0, ..., -1], f"score {task.score_of(env):,.0f}   {action}")
        if pace_s:
            next_step = max(next_step + pace_s, time.monotonic() - pace_s)
            time.sleep(max(0.0, next_step - time.monotonic()))
        return actions, values

    seeds = itertools.islice(itertools.count(options.seed), games)

    def end(episode: "Episode"):
        _print_end(episode)
        if tally:
            tally.add(episode)

    try:
        with replaceable, view if task.shows_frames else nullcontext():
            player.warm_up(replaceable.envs[0].num_envs)
            if options.record:
                labels = PanelLabels("trained agent", task.spec.actions, player.values_are)
                panel = labels if options.overlay else None
                record_games(replaceable, act, seeds, options.record, panel, None, end)
            else:
                replaceable.play_in_turn(lambda observations: act(observations)[0], seeds, end)
    except WindowClosedError as error:
        note(str(error))
    finally:
        if options.record and options.record.exists():
            console.print(f"Video: {options.record}")
    return 0


def _watch_learning(options: argparse.Namespace) -> int:
    """Models of one run play one seed."""
    from dino_rl.backend import use_one_thread
    from dino_rl.errors import EnvError
    from dino_rl.terminal import Progress, console, note, number
    from dino_rl.watch_learning import watch_learning

    shared.refuse(
        options,
        ("games", "overlay", "clock", "url", "in_page"),
        "--watch-learning plays one seed in lock-step",
    )
    use_one_thread()
    window = has_display() and not options.headless
    if not window and not options.record:
        note("There is no window: only the scores are shown. --record FILE.mp4 makes a video.")
    try:
        with Progress("playing") as progress:
            rows = watch_learning(
                options.watch_learning,
                options.seed,
                options.record,
                window,
                options.max_score,
                progress.update,
            )
    except EnvError:
        if not window:
            raise
        note("The window was closed.")
        return 0
    for row in rows:
        console.print(f"{row.title}: {number(row.score)}{f', {row.ended}' if row.ended else ''}")
    if options.record:
        console.print(f"Video: {options.record}")
    return 0


def _play_in_page(player: "Player", play: "PlayOptions", games: int | None, window: bool) -> int:
    """The exported file plays; this process reads the scores, and draws the game if there is no window."""
    from dino_rl.errors import WindowClosedError
    from dino_rl.export.in_page import InPagePlayer
    from dino_rl.terminal import GameView, Progress, note

    def show(seen: "Observation"):
        view.show(seen.frames[0], f"score {seen.scores[0]:,}")

    try:
        with Progress("starting the game"):
            page = InPagePlayer(player, play, not window, shared.say_fault)
        with page, GameView(enabled=not window) as view:
            for number in itertools.islice(itertools.count(), games):
                _print_end(page.play(number, play.max_score, show))
    except WindowClosedError as error:
        note(str(error))
    return 0


def _print_end(episode: "Episode"):
    from dino_rl.terminal import console, number

    end = "stopped at" if episode.capped else "ended at"
    console.print(f"{end} {number(episode.score)}")
