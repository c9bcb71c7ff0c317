"""`replay`: play a recorded game again, and check its score."""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

from dino_rl.display import has_display

HELP = "play a recorded game again, and check its score"
DESCRIPTION = (
    "Play a game that `evaluate --save-replays` saved, in lock-step, and compare its score with the recorded "
    "one. The exit code is 1 if they differ."
)
EXIT_DIFFERENT = 1
FAST_DECISIONS = 50  # from one look to the next, where nothing is recorded and no pace is kept


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--record", type=Path, metavar="FILE.mp4", help="record the game as a video")
    parser.add_argument("--fast", action="store_true", help="on a terminal, do not keep the game's own speed")
    parser.add_argument("--headless", action="store_true", help="no window")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.browser import Game
    from dino_rl.browser.game_settings import GameSettings
    from dino_rl.config import from_dict
    from dino_rl.errors import DinoError
    from dino_rl.runs.recorded_game import RecordedGame
    from dino_rl.runs.video import VideoWriter, enlarge
    from dino_rl.terminal import GameView, Progress, console, note, progress_text, time_left

    recorded = RecordedGame.load(options.file)
    try:
        settings = from_dict(GameSettings, recorded.settings)
    except DinoError as error:
        raise DinoError(f"{options.file} is not a recorded game of this project ({error}).") from error
    headless = options.headless or not has_display()
    interval = recorded.decision_interval_frames
    video = VideoWriter(options.record, 60) if options.record else None
    paced = not headless or (console.is_terminal and not options.fast)
    try:
        # There is one live view on a terminal: the game, or how far it is.
        show_game = headless and console.is_terminal
        with (
            Game(headless=headless) as game,
            GameView(enabled=show_game) as view,
            nullcontext() if show_game else Progress("replaying") as progress,
        ):
            if game.browser.name != recorded.browser:
                note(f"Recorded with {recorded.browser}, replayed with {game.browser.name}.")
            game.recording = video is not None
            observation = game.restart(recorded.seed, settings)
            started = next_step = time.monotonic()
            at_once = 1 if paced or video else FAST_DECISIONS
            for start in range(0, len(recorded.actions), at_once):
                actions = recorded.actions[start : start + at_once]
                if at_once == 1:
                    observation = game.step(int(actions[0]), interval)
                else:
                    observation = game.fast_forward(actions, interval)
                if video:
                    for canvas in game.recorded_frames:
                        video.add(enlarge(canvas))
                share = (start + len(actions)) / len(recorded.actions)
                how_far = progress_text(share, time_left(share, started))
                view.show(observation.frames[0], f"score {observation.scores[0]:,}   {how_far}")
                if progress:
                    progress.update(share)
                if paced:
                    next_step += interval / 60
                    time.sleep(max(0.0, next_step - time.monotonic()))
    finally:
        if video:
            video.close()
    score = int(observation.scores[0])
    same = score == recorded.score
    verdict = "as recorded" if same else f"but {recorded.score:,} was recorded"
    console.print(f"Score {score:,}, {verdict}.")
    return 0 if same else EXIT_DIFFERENT
