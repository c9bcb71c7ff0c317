"""`play`: watch a model play."""

import argparse
import itertools
import time

import numpy as np

from dino_rl.browser.chrome import has_display
from dino_rl.commands import dino_only
from dino_rl.envs.catalog import interface, make_single_env
from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import BrowserError, DinoError
from dino_rl.evaluate import Game, play_games
from dino_rl.results.model import Model
from dino_rl.results.video import VideoWriter, enlarge, with_thoughts
from dino_rl.settings import DINO_ID
from dino_rl.terminal import GameView, console, number

GAMES_WITHOUT_WINDOW = 3


def play(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.url and options.clock == "lockstep":
        raise DinoError(f"{options.url} keeps its own time: use --clock live.")
    model = Model(options.model)
    dino_only.fill_in(
        options, model.env.id, clock="live", url=None, max_score=None, overlay=False, record=None
    )
    headless = options.headless or not has_display()
    games = options.games or (GAMES_WITHOUT_WINDOW if headless else None)
    is_dino = model.env.id == DINO_ID
    fps = 60 if options.clock == "lockstep" else 60 / model.env.decision_interval_frames
    video = VideoWriter(options.record, fps) if options.record else None
    if headless and not options.headless:
        instead = "the game is drawn on the terminal" if is_dino else "only the scores are shown"
        console.print(f"There is no display for a window: {instead}.")
    env = make_single_env(
        model.env,
        options.clock,
        options.url,
        options.max_score,
        headless,
        render_mode=None if is_dino or headless else "human",
    )
    try:
        made_for = interface(env, model.env)
        model.check(made_for.observation_shape, len(made_for.actions))
        model.warm_up(env.num_envs)
        seeds = itertools.islice(itertools.count(options.seed), games)
        if is_dino:
            show = _Show(options, model, env, video, headless)
            with show.view:
                play_games(env, show.act, seeds, on_game=_tell)
        else:
            play_games(env, model.act, seeds, on_game=_tell)
    except BrowserError:
        if headless:
            raise
        console.print("The window was closed.")
    finally:
        env.close()
        if video:
            video.close()
            console.print(f"Filmed: {options.record}")
    return 0


def _tell(game: Game):
    """Say how a game ended."""
    end = "was cut off" if game.capped else "ended"
    console.print(f"{end} at {number(game.score)}")


class _Show:
    """Plays the Dino, and shows each step to whoever watches."""

    def __init__(self, options, model: Model, env, video: VideoWriter | None, headless: bool):
        self._model = model
        self._dino = env.envs[0].unwrapped
        self._dino.game.filming = video is not None
        self._video = video
        self._overlay = options.overlay
        # Lock-step runs as fast as it can; somebody who watches wants the game's own pace.
        watched = not headless or console.is_terminal
        self._pace_s = (
            model.env.decision_interval_frames / 60 if options.clock == "lockstep" and watched else 0.0
        )
        self._next_step = time.monotonic()
        self.view = GameView(enabled=headless)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Policy for `play_games`."""
        values = self._model.values(observations)
        actions = self._model.choose(values)
        picture, score = observations[0, ..., -1], self._dino.score
        if self._overlay:
            self._dino.game.think_aloud([float(v) for v in values[0]], int(actions[0]), f"score {score:,}")
        if self._video:
            for canvas in self._dino.game.film:
                if self._overlay:
                    frame = with_thoughts(canvas, picture, values[0], int(actions[0]), ACTIONS, score)
                else:
                    frame = enlarge(canvas)
                self._video.add(frame)
        self.view.show(picture, f"score {score:,}   {ACTIONS[int(actions[0])]}")
        if self._pace_s:
            self._next_step = max(self._next_step + self._pace_s, time.monotonic() - self._pace_s)
            time.sleep(max(0.0, self._next_step - time.monotonic()))
        return actions
