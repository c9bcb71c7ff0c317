"""The one recorder: any player in any environment, on a film that plays everywhere."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dino_rl.envs.catalog import interface, make_single_env
from dino_rl.evaluate import Evaluation, Game, play_games, random_policy
from dino_rl.results.model import Trained
from dino_rl.results.overlay import Player, Thoughts, with_thoughts
from dino_rl.results.runs import videos_of
from dino_rl.results.video import VideoWriter, check_film, enlarge
from dino_rl.settings import FILM_SECONDS

# Observations [N, ...] -> actions [N], and the values [N, A] that they were chosen by, if any.
Thinking = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
HOLD_S = 1.0  # the last picture of a game stays for so long


class Filmed(gymnasium.vector.VectorWrapper):
    """A game that is filmed while it is played.

    Args:
        env: one game as a vector environment, with render mode "rgb_array_list".
        path: the film, an .mp4 file; it is whole after `close_film`.
        player: whose thoughts are drawn beside the game; None draws none.
        max_s: a game that goes on for longer on the film is cut off (truncated).

    Raises:
        DinoError: the film cannot be written.

    Attributes:
        values: float [A]; what the player thinks of each action. Set it before a step, for the overlay.
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv,
        path: Path,
        player: Player | None = None,
        max_s: float | None = None,
    ):
        super().__init__(env)
        self._fps = env.metadata["render_fps"]
        self._frames_left = self._max_frames = np.inf if max_s is None else max_s * self._fps
        self._film = VideoWriter(path, self._fps)
        self._player = player
        self.values: np.ndarray | None = None
        self._picture: np.ndarray | None = None
        self._score = ""
        self._return = 0.0

    def reset(self, **options: Any):
        observations, infos = self.env.reset(**options)
        self._return = 0.0
        self._frames_left = self._max_frames
        self._see(observations, infos)
        return observations, infos

    def step(self, actions: Any):
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        # What was thought stands beside what came of it. The first step of a game has its start, too.
        canvases = [enlarge(canvas) for canvas in self.env.render()[0]]  # type: ignore[index]
        self._add(canvases, int(actions[0]))
        self._frames_left -= len(canvases)
        truncated = truncated | (self._frames_left <= 0)
        self._return += float(rewards[0])
        self._see(observations, infos)
        if terminated[0] or truncated[0]:
            self._add(canvases[-1:] * round(HOLD_S * self._fps), int(actions[0]))
        return observations, rewards, terminated, truncated, infos

    def _see(self, observations: np.ndarray, infos: dict):
        self._picture = observations[0, ..., -1] if observations.ndim == 4 else None
        score, what = (infos["score"][0], "score") if "score" in infos else (self._return, "return")
        self._score = f"{what} {score:,.0f}"

    def _add(self, canvases: list[np.ndarray], action: int):
        if self._player:
            thoughts = Thoughts(self._score, action, self.values, self._picture)
            canvases = with_thoughts(canvases, self._player, thoughts)
        for canvas in canvases:
            self._film.add(canvas)

    def close_film(self):
        """Finish the file. The game goes on."""
        self._film.close()

    def __del__(self):
        """Gymnasium's own closes the environment; ours outlives its film."""


def record_games(
    env: gymnasium.vector.VectorEnv,
    think: Thinking,
    seeds: Iterable[int],
    path: Path,
    player: Player | None = None,
    max_s: float | None = None,
    on_game: Callable[[Game], None] = lambda game: None,
) -> Evaluation:
    """Film one game for each seed. The film is whole also if the games are interrupted.

    Args:
        env, path, player, max_s: see `Filmed`.
        think: observations [1, ...] to actions [1] and values [1, A], or None for them.
        seeds: one for each game.
        on_game: told of each game as it ends.
    """
    film = Filmed(env, path, player, max_s)

    def policy(observations: np.ndarray) -> np.ndarray:
        actions, values = think(observations)
        film.values = None if values is None else values[0]
        return actions

    try:
        return play_games(film, policy, seeds, on_game)
    finally:
        film.close_film()


def record_model(
    model: Trained,
    path: Path | None = None,
    seeds: Sequence[int] = (0,),
    before: bool = False,
    overlay: bool = False,
    max_s: float | None = FILM_SECONDS,
    max_score: int | None = None,
    on_film: Callable[[str, Path, Evaluation], None] = lambda title, path, evaluation: None,
) -> list[Path]:
    """Film a model in its own environment, without a screen.

    Args:
        model: who plays.
        path: the film; None: videos/after.mp4 in the model's run, or in videos/ of a model that lies alone.
        seeds: one for each game.
        before: film random play of the same seeds, too, as before.mp4 beside `path`.
        overlay: draw what the player makes of it beside the game.
        max_s: end a game after so many seconds of film.
        max_score: of the Dino: end a game here.
        on_film: told of each film: who plays, where, and how it went.

    Returns:
        The films, random play first.
    """
    path = path or videos_of(model.path) / "after.mp4"
    check_film(path)
    env = make_single_env(model.env, max_score=max_score, render_mode="rgb_array_list")
    try:
        made_for = interface(env, model.env)
        num_actions = len(made_for.actions)
        model.check(made_for.observation_shape, num_actions)
        films: list[tuple[Path, str, Thinking]] = [(path, "the trained player", model.think)]
        if before:
            chance = random_policy(num_actions, seeds[0])
            films.insert(0, (path.with_name("before.mp4"), "random play", lambda seen: (chance(seen), None)))
        for film, title, think in films:
            player = Player(title, made_for.actions, model.values_are) if overlay else None
            on_film(title, film, record_games(env, think, seeds, film, player, max_s))
    finally:
        env.close()
    return [film for film, _, _ in films]
