"""Games that are played without learning, shown on a dashboard."""

from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np

from dino_rl.dashboard.board import Board
from dino_rl.training.rollout import Episode

RECENT = 100


class Watched(gymnasium.vector.VectorWrapper):
    """Shows the games of an environment on a board as they are played.

    Args:
        env: a vector environment without autoreset.
        board: shows them.
        source: number of the environment on the board.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, board: Board, source: int = 0):
        super().__init__(env)
        self._board = board
        self._source = source
        self._greedy = np.ones(env.num_envs, bool)
        self._observations: np.ndarray = np.empty(0)
        self._infos: dict[str, Any] = {}

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        self._observations, self._infos = self.env.reset(seed=seed, options=options)
        return self._observations, self._infos

    def step(self, actions: Any):
        self._board.show(
            self._source, self.env, self._observations, np.asarray(actions), self._greedy, self._infos
        )
        result = self.env.step(actions)
        self._observations, self._infos = result[0], result[4]
        return result


def watch_all(envs: Iterable[gymnasium.vector.VectorEnv], board: Board) -> Iterator[Watched]:
    """Environments, each shown on a board."""
    for source, env in enumerate(envs):
        yield Watched(env, board, source)


class Tally:
    """Counts on a board the games that have ended.

    Args:
        board: shows them.
        of: how many are to be played; None: there is no end.
    """

    def __init__(self, board: Board, of: int | None):
        self._board = board
        self._of = of
        self._scores: list[float] = []  # the last ones
        self._sum = self._best = 0.0
        self._games = 0
        self._show()

    def add(self, episode: Episode) -> None:
        """A game has ended."""
        self._games += 1
        self._sum += episode.score
        self._best = max(self._best, episode.score) if self._games > 1 else episode.score
        row = {"game": self._games, "seed": episode.seed, "score": episode.score, "capped": episode.capped}
        self._board.add("games", row)
        if not episode.capped:
            infos = {name: np.array([value]) for name, value in episode.info.items()}
            self._board.count_ends([self._board.task.describe_end(infos, 0)])
        self._show()

    def _show(self):
        self._board.progress = {
            "games": self._games,
            "of": self._of,
            "share": self._games / self._of if self._of else None,
            "scoreMean": self._sum / self._games if self._games else None,
            "best": self._best if self._games else None,
        }
