"""Live games that are played inside the page, by the exported file, and their statistics."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dino_rl.browser import Game
from dino_rl.browser.observation import Observation
from dino_rl.envs.dino.episodes import INFO_FIELDS
from dino_rl.envs.task import PlayOptions
from dino_rl.errors import EnvError, ModelError
from dino_rl.export.javascript import player_js
from dino_rl.player import Player
from dino_rl.training.faults import Replaceable
from dino_rl.training.rollout import Episode

POLL_S = 0.1  # the file waits for 1.5 s before it starts the next game


def can_play_in_page(player: Player) -> bool:
    """Whether a model can be exported."""
    try:
        player_js(player)
    except ModelError:
        return False
    return True


class InPagePlayer:
    """The exported file of a model in the page of a live game.

    The file chooses and sends the keys; Python starts the games, and reads their scores through the bridge.

    Args:
        player: a model that was trained for the Dino.
        options: `url` and `overlay` (the file's panel).
        headless: no window.
        on_fault: called when the browser has failed and a new one is started.

    Raises:
        ModelError: the model cannot be exported.
        BrowserError, PageError: as `Game`.
    """

    def __init__(
        self,
        player: Player,
        options: PlayOptions,
        headless: bool = True,
        on_fault: Callable[[EnvError], None] = lambda error: None,
    ):
        self._source = player_js(player)
        self._interval_frames = round(60 * player.task.pace_s(PlayOptions(clock="lockstep")))
        self._measured: dict[str, Any] = {}
        self._options, self._headless = options, headless
        self._game = Replaceable(self._open, on_fault)

    @contextmanager
    def _open(self) -> Iterator[Game]:
        game = Game("live", self._options.url, self._headless)
        try:
            game.browser.script(self._source)
            if not self._options.overlay:
                game.browser.script("dinoPlayer.showPanel(false)")
            yield game
        finally:
            game.end()

    def play(
        self,
        number: int,
        max_score: int | None = None,
        on_look: Callable[[Observation], None] = lambda seen: None,
    ) -> Episode:
        """Play one game, to its end or to a score. If the browser fails, the game is played again.

        Args:
            number: of the game, in the place of a seed: a live game has none.
            max_score: stop there; None: never.
            on_look: called with what the page shows, several times a second.

        Raises:
            EnvError: the browser failed again and again.
        """
        episode = self._game.use(lambda game: self._play(game, number, max_score, on_look))
        self._game.progress()
        return episode

    def _play(
        self, game: Game, number: int, max_score: int | None, on_look: Callable[[Observation], None]
    ) -> Episode:
        game.restart()
        while True:
            seen = game.observe()
            score = int(seen.scores[0])
            crashed = bool(seen.crashed[0])
            on_look(seen)
            if crashed or (max_score is not None and score >= max_score):
                self._measure(game)
                return _episode(number, seen, score, not crashed, self._interval_frames)
            time.sleep(POLL_S)

    def _measure(self, game: Game):
        taken = game.browser.script("return dinoPlayer.takeMeasurements()")
        for name, value in taken.items():
            if isinstance(value, list) and name != "scores":
                value = self._measured.get(name, []) + value
            self._measured[name] = value

    def timing(self) -> dict[str, Any]:
        """Of all games: milliseconds of a decision (canvas read, network, key event), share of late
        decisions, and the page's frames per second."""
        return timing_of(self._measured)

    def close(self):
        """Stop the browser. A second call has no effect."""
        self._game.close()

    def __enter__(self) -> "InPagePlayer":
        return self

    def __exit__(self, *_):
        self.close()


def timing_of(measured: dict[str, Any]) -> dict[str, Any]:
    """Statistics of what `dinoPlayer.takeMeasurements()` returned."""
    if not measured:
        return {"decisions": 0}
    decisions, reads = np.array(measured["decision_ms"]), np.array(measured["read_ms"])
    frames = np.diff(measured["frame_times"])
    if not (len(decisions) and len(frames)):
        return {"decisions": 0}
    return {
        "decisions": len(decisions),
        "median_ms": float(np.median(decisions)),
        "p99_ms": float(np.percentile(decisions, 99)),
        "max_ms": float(decisions.max()),
        "read_median_ms": float(np.median(reads)),
        "late_decisions": measured["late"] / max(1, measured["decisions"]),
        "frames_per_second": float(1000 / frames.mean()),
        "longest_frame_ms": float(frames.max()),
    }


def _episode(number: int, seen: Observation, score: int, capped: bool, interval_frames: int) -> Episode:
    return Episode(
        seed=number,
        score=score,
        episode_return=float("nan"),
        length=int(seen.column("frames")[0]) // interval_frames,
        capped=capped,
        info={name: float(seen.column(name)[0]) for name in INFO_FIELDS},
        actions=[],
    )
