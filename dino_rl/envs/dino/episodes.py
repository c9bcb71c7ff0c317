"""The rules of the Dino environments: observations, rewards, and how episodes begin and end."""

from collections import deque
from collections.abc import Sequence

import gymnasium
import numpy as np

from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import SIZE, Observation
from dino_rl.envs.dino.options import REWARDS, DinoOptions
from dino_rl.envs.dino.variation import GameVariation
from dino_rl.errors import DinoError
from dino_rl.spec import DRAWN_SEEDS_FROM

# Fields of the game's state in `info`, for statistics. `obstacle` is an index of `deaths.OBSTACLES`.
INFO_FIELDS = ("speed", "seed", "obstacle", "obstacle_size", "obstacle_y", "night", "jumping", "ducking")

SEEDS = 2**32  # of games; the page's own random numbers have no more

Games = GameSettings | GameVariation | Sequence[GameSettings | GameVariation]


class Episodes:
    """The episodes of N games that step together, under either clock. Drives no game itself.

    Args:
        num_envs: N.
        game: of all games, or one for each.
        options: see `DinoOptions`.
        max_score: truncate an episode at this score; None: never.
        max_episode_steps: truncate an episode after this many steps; None: never.

    Attributes:
        observation_space: of one game.
        action_space: of one game.
        started: whether there has been a reset.
        over: bool [N]; episodes that have ended.

    Raises:
        DinoError: `game` has the wrong length, or a limit is not positive.
    """

    def __init__(
        self,
        num_envs: int,
        game: Games,
        options: DinoOptions,
        max_score: int | None = None,
        max_episode_steps: int | None = None,
    ):
        games = [game] * num_envs if isinstance(game, GameSettings | GameVariation) else game
        if len(games) != num_envs:
            raise DinoError(f"game has {len(games)} entries for {num_envs} games: give one for each.")
        self._variations = [
            each if isinstance(each, GameVariation) else GameVariation(each) for each in games
        ]
        for name, limit in {"max_score": max_score, "max_episode_steps": max_episode_steps}.items():
            if limit is not None and limit < 1:
                raise DinoError(f"{name} is {limit}: use 1 or more, or None for no limit.")
        # No limit is NaN, which compares false.
        self._max_frames = np.array([each.max_frames for each in self._variations], float)
        self._max_score = np.nan if max_score is None else max_score
        self._max_steps = np.nan if max_episode_steps is None else max_episode_steps
        self._steps = np.zeros(num_envs, int)
        self._step_reward, self._crash_reward = REWARDS[options.reward]
        self._frames = FrameStack(num_envs, options.stack_size, options.stack_stride)
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, options.stack_size), np.uint8)
        self.action_space: gymnasium.spaces.Discrete = gymnasium.spaces.Discrete(options.num_actions)
        self.started = False
        self.over = np.zeros(num_envs, bool)
        self._crashed = np.zeros(num_envs, bool)

    def next_game(
        self, i: int, rng: np.random.Generator, seed: int | None = None
    ) -> tuple[int, GameSettings | None]:
        """Seed and settings of the next episode of game i. Without settings, the game is rewound.

        Args:
            i: index of the game.
            rng: draws the seed, if none is given, and the settings.
            seed: always starts a new game. Without a seed, a game that crashed may be rewound to a moment
                before its crash (`GameVariation.rewind_share`).

        Raises:
            DinoError: the seed is out of range.
        """
        if seed is not None and not 0 <= seed < SEEDS:
            raise DinoError(f"The seed {seed} is out of range: games have seeds from 0 to {SEEDS - 1}.")
        drawn = int(rng.integers(DRAWN_SEEDS_FROM, 2**32)) if seed is None else seed
        settings = self._variations[i].draw(rng)
        share = self._variations[i].rewind_share
        if seed is None and self._crashed[i] and share and rng.random() < share:
            return drawn, None
        return drawn, settings

    def begin(self, observation: Observation, games: np.ndarray):
        """Start episodes of the games in the mask `games`, bool [N], with their first observation."""
        self.started = True
        self.over[games] = False
        self._crashed[games] = False
        self._steps[games] = 0
        self._frames.restart(observation.frames, games)

    def advance(
        self, observation: Observation, fresh: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Judge a step of all games.

        An episode that was over before the step has neither reward nor end: its game waits for a reset.

        Args:
            observation: after the step.
            fresh: bool [N]; games that were reset in this step instead of moving.

        Returns:
            rewards float64 [N], terminated bool [N], truncated bool [N].
        """
        playing = ~self.over
        terminated = observation.crashed & playing
        rewards = np.where(terminated, self._crash_reward, self._step_reward)
        rewards[~playing] = 0.0
        self._steps += playing
        limits = observation.column("frames") >= self._max_frames
        limits |= (observation.scores >= self._max_score) | (self._steps >= self._max_steps)
        truncated = limits & playing & ~terminated
        self._crashed |= terminated
        self.over |= terminated | truncated
        self._frames.push(observation.frames)
        if fresh is not None and fresh.any():
            self.begin(observation, fresh)
        return rewards, terminated, truncated

    def observations(self) -> np.ndarray:
        """uint8 [N, 80, 80, stack_size], newest frame last."""
        return self._frames.stacked()

    def info(self, observation: Observation) -> dict[str, np.ndarray]:
        """What `info` contains, as arrays [N]: `score` and `seed` int64, the others float64."""
        info = {"score": observation.scores} | {name: observation.column(name).copy() for name in INFO_FIELDS}
        return info | {"seed": info["seed"].astype(np.int64)}


class FrameStack:
    """The last frames of N games, stacked as observations.

    Args:
        num_games: N.
        size: frames in an observation.
        stride: steps from one frame of an observation to the next.
    """

    def __init__(self, num_games: int, size: int, stride: int):
        length = (size - 1) * stride + 1
        self._stride = stride
        self._history = deque([np.zeros((num_games, SIZE, SIZE), np.uint8)] * length, length)

    def push(self, frames: np.ndarray):
        """Add the newest frames, uint8 [N, 80, 80], and drop the oldest."""
        self._history.append(frames)

    def restart(self, frames: np.ndarray, games: np.ndarray):
        """In the mask `games`, bool [N], replace the whole history by this frame."""
        for i, before in enumerate(self._history):
            self._history[i] = np.where(games[:, None, None], frames, before)

    def stacked(self) -> np.ndarray:
        """uint8 [N, 80, 80, size], newest frame last."""
        return np.stack(list(self._history)[:: self._stride], axis=-1)
