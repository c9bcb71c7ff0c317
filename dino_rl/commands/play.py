"""`play`: watch a model play."""

import argparse
import itertools
import time
from contextlib import nullcontext

import numpy as np

from dino_rl.backend import share_cores
from dino_rl.browser.chrome import has_display
from dino_rl.commands import dino_only
from dino_rl.engines import load_model
from dino_rl.envs.catalog import interface, make_single_env
from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import BrowserError, DinoError
from dino_rl.evaluate import Game, play_games
from dino_rl.record import record_games
from dino_rl.results.model import Trained
from dino_rl.results.overlay import Player
from dino_rl.results.video import check_film
from dino_rl.settings import DINO_ID
from dino_rl.terminal import GameView, console, number

GAMES_WITHOUT_WINDOW = 3


def play(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.url and options.clock == "lockstep":
        raise DinoError(f"{options.url} keeps its own time: use --clock live.")
    if options.record:
        check_film(options.record)
    share_cores()
    model = load_model(options.model, options.trust)
    is_dino = model.env.id == DINO_ID
    # On a film there is room for what any network thinks, in a window only beside the Dino.
    overlay = {} if options.record else {"overlay": False}
    dino_only.fill_in(options, model.env.id, clock="live", url=None, max_score=None, **overlay)
    has_window = has_display() and not options.headless and (is_dino or not options.record)
    games = options.games or (None if has_window else GAMES_WITHOUT_WINDOW)
    if not has_display() and not options.headless:
        instead = "the game is drawn on the terminal" if is_dino else "only the scores are shown"
        console.print(f"There is no display for a window: {instead}.")
    window = "human" if has_window and not is_dino else None
    env = make_single_env(
        model.env,
        options.clock,
        options.url,
        options.max_score,
        headless=not has_window,
        render_mode="rgb_array_list" if options.record else window,
    )
    show = _Show(options, model, env, has_window) if is_dino else None

    def think(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        actions, values = model.think(observations)
        if show:
            show.step(observations, values[0], int(actions[0]))
        return actions, values

    try:
        made_for = interface(env, model.env)
        model.check(made_for.observation_shape, len(made_for.actions))
        model.warm_up(env.num_envs)
        seeds = itertools.islice(itertools.count(options.seed), games)
        with show.view if show else nullcontext():
            if options.record:
                player = Player("the trained player", made_for.actions, model.values_are)
                record_games(
                    env, think, seeds, options.record, player if options.overlay else None, None, _tell
                )
            else:
                play_games(env, lambda observations: think(observations)[0], seeds, _tell)
    except BrowserError:
        if not has_window:
            raise
        console.print("The window was closed.")
    finally:
        env.close()
        if options.record and options.record.exists():
            console.print(f"Filmed: {options.record}")
    return 0


def _tell(game: Game):
    """Say how a game ended."""
    end = "was cut off" if game.capped else "ended"
    console.print(f"{end} at {number(game.score)}")


class _Show:
    """Shows each step of the Dino to whoever watches."""

    def __init__(self, options, model: Trained, env, has_window: bool):
        self._dino = env.envs[0].unwrapped
        self._overlay = options.overlay
        # Lock-step runs as fast as it can; somebody who watches wants the game's own pace.
        watched = has_window or console.is_terminal
        self._pace_s = (
            model.env.decision_interval_frames / 60 if options.clock == "lockstep" and watched else 0.0
        )
        self._next_step = time.monotonic()
        self.view = GameView(enabled=not has_window)

    def step(self, observations: np.ndarray, values: np.ndarray, action: int):
        """The newest picture, what the network made of it, and the game's own pace."""
        score = self._dino.score
        if self._overlay:
            self._dino.game.think_aloud([float(v) for v in values], action, f"score {score:,}")
        self.view.show(observations[0, ..., -1], f"score {score:,}   {ACTIONS[action]}")
        if self._pace_s:
            self._next_step = max(self._next_step + self._pace_s, time.monotonic() - self._pace_s)
            time.sleep(max(0.0, self._next_step - time.monotonic()))
