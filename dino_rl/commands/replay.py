"""`replay`: see a game on file happen again, and check its score."""

import argparse
import time

from dino_rl.browser import Game
from dino_rl.browser.chrome import has_display
from dino_rl.results.replays import Replay
from dino_rl.results.video import VideoWriter, enlarge
from dino_rl.terminal import GameView, console

EXIT_DIFFERENT = 1
FAST_DECISIONS = 50  # from one look to the next, where nothing is filmed and no pace kept


def replay(options: argparse.Namespace) -> int:
    """Run the command; exit code 1 if the score is not the one on file."""
    game = Replay.load(options.file)
    headless = options.headless or not has_display()
    interval = game.decision_interval_frames
    video = VideoWriter(options.record, 60) if options.record else None
    paced = not headless or (console.is_terminal and not options.fast)
    try:
        with Game(headless=headless) as page, GameView(enabled=headless) as view:
            if page.browser.name != game.browser:
                console.print(f"Recorded with {game.browser}, replayed with {page.browser.name}.")
            page.filming = video is not None
            observation = page.restart(game.seed, game.settings)
            next_step = time.monotonic()
            at_once = 1 if paced or video else FAST_DECISIONS
            for start in range(0, len(game.actions), at_once):
                actions = game.actions[start : start + at_once]
                if at_once == 1:
                    observation = page.step(int(actions[0]), interval)
                else:
                    observation = page.fast_forward(actions, interval)
                if video:
                    for canvas in page.film:
                        video.add(enlarge(canvas))
                view.show(observation.pictures[0], f"score {observation.scores[0]:,}")
                if paced:
                    next_step += interval / 60
                    time.sleep(max(0.0, next_step - time.monotonic()))
    finally:
        if video:
            video.close()
    score = int(observation.scores[0])
    same = score == game.score
    verdict = "as recorded" if same else f"but {game.score:,} was recorded"
    console.print(f"Score {score:,}, {verdict}.")
    return 0 if same else EXIT_DIFFERENT
