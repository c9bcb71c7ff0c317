"""Chrome's Dino game as Gymnasium environments: one game, or many in one page."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dino_rl.browser import Arena, Arenas, Game
from dino_rl.browser.frames import SIZE
from dino_rl.browser.observation import Observation
from dino_rl.errors import DinoError
from dino_rl.settings import DRAWN_SEEDS_FROM, GameSettings, GameVariation

ACTIONS = ("nothing", "jump", "duck")
REWARDS = {  # (for a step survived, for a crash)
    "tutorial": (0.1, -1.0),  # the tutorial that most people know
    "survival": (0.01, -1.0),  # small enough for the crash to be what a value is about
}
# What `info` carries of a game's state, for statistics; obstacle is an index of `Observation.OBSTACLES`.
INFO_FIELDS = ("speed", "seed", "obstacle", "obstacle_size", "obstacle_y", "night", "jumping", "ducking")


class DinoVectorEnv(gymnasium.vector.VectorEnv):
    """Many real Dino games in one page of one browser, under the lock-step clock.

    ## Action Space
    `Discrete(3)` for each game: 0 nothing, 1 jump (hold up), 2 duck (hold down); `Discrete(2)` with
    `num_actions=2`. A key stays down as long as its action is repeated: releasing up cuts a jump short,
    down in the air drops.

    ## Observation Space
    `Box(0, 255, (80, 80, 4), uint8)` for each game: the last four pictures (`stack_stride` steps apart),
    newest last. After a reset all four are the first picture. `game/picture.js` says how a picture is made.

    ## Rewards
    "survival": +0.01 for a step survived, -1 for a crash; "tutorial": +0.1 and -1.

    ## Starting State
    The game after its intro: no obstacle for the first three seconds.

    ## Episode End
    Terminated at the crash; truncated when the score reaches `max_score`, or after the `max_frames` of its
    `GameVariation`.

    ## Info
    `score` (from the distance), `speed`, `seed`, and for statistics `obstacle`, `obstacle_size`,
    `obstacle_y`, `night`, `jumping`, `ducking`: arrays over the games, with Gymnasium's `_name` masks.

    Args:
        num_envs: number of games.
        game: settings of every game, or a `GameVariation` for each game that draws them anew at each reset.
        decision_interval_frames: frames a step.
        reward: a key of `REWARDS`.
        num_actions: 2 or 3.
        stack_size: pictures in an observation.
        stack_stride: steps from one of them to the next.
        max_score: truncate an episode here; None never.
        autoreset_mode: NEXT_STEP (Gymnasium's default) or DISABLED (`reset` with a `reset_mask`).
        render_mode: "rgb_array", "human" (a window) or None.
        headless: no window; None decides by `render_mode`.
        browsers: the games are spread over so many browsers, to use more cores.

    Raises:
        BrowserError, PageError: see `dino_rl.errors`.
    """

    metadata = {  # noqa: RUF012  (Gymnasium's interface)
        "render_modes": ["human", "rgb_array"],
        "render_fps": 15,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    closed = True  # nothing to close until the browser runs

    def __init__(
        self,
        num_envs: int = 1,
        game: GameSettings | GameVariation | Sequence[GameVariation] = GameSettings(),
        decision_interval_frames: int = 4,
        reward: str = "survival",
        num_actions: int = len(ACTIONS),
        stack_size: int = 4,
        stack_stride: int = 1,
        max_score: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        headless: bool | None = None,
        browsers: int = 1,
    ):
        _check_options(reward, num_actions, decision_interval_frames, stack_size, stack_stride, num_envs)
        if not 1 <= browsers <= num_envs:
            raise DinoError(f"{num_envs} games cannot be spread over {browsers} browsers.")
        self.num_envs = num_envs
        self.decision_interval_frames = decision_interval_frames
        self.max_score = max_score
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata,
            "autoreset_mode": autoreset_mode,
            "render_fps": round(60 / decision_interval_frames),
        }
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, stack_size), np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        games = [game] * num_envs if isinstance(game, GameSettings | GameVariation) else game
        self._games = [_as_variation(each) for each in games]
        # None becomes NaN, which compares false: no limit.
        self._max_frames = np.array([each.max_frames for each in self._games], float)
        self._step_reward, self._crash_reward = REWARDS[reward]
        self._autoreset = autoreset_mode == AutoresetMode.NEXT_STEP
        self._pictures = _PictureStack(num_envs, stack_size, stack_stride)
        self._ended = np.zeros(num_envs, bool)
        self._crashed = np.zeros(num_envs, bool)
        self._watched: dict | None = None
        if headless is None:
            headless = render_mode != "human"
        self.arena = Arena(num_envs, headless) if browsers == 1 else Arenas(num_envs, browsers, headless)
        self.closed = False

    @property
    def browser_name(self) -> str:
        """Browser and version, for results."""
        return self.arena.browser.name

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Restart all games, or those of `options["reset_mask"]` (bool [num_envs]).

        A given seed is the game's own seed: game i gets `seed + i`, or its entry of the sequence.
        """
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            seeds: list[int | None] = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
            # What is drawn from here on follows from the seeds given.
            super().reset(seed=next((one for one in seeds if one is not None), None))
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"], bool)
        games = np.flatnonzero(mask).tolist()
        observation = self.arena.step(resets={game: self._draw_game(game, seeds[game]) for game in games})
        self._ended[games] = False
        self._pictures.restart(observation.pictures, mask)
        return self._pictures.observations(), self._info(observation)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Run `decision_interval_frames` frames of every game (fewer where the dino crashes)."""
        fresh = self._ended & self._autoreset
        resets = {game: self._draw_next(game) for game in np.flatnonzero(fresh).tolist()}
        observation = self.arena.step(actions, self.decision_interval_frames, resets, self._watched)
        over = self._ended & ~fresh  # ended, and waiting for a reset by the caller: nothing moves
        terminated = observation.crashed & ~over
        rewards = np.where(terminated, self._crash_reward, self._step_reward)
        rewards[fresh | over] = 0.0
        cut = observation.column("frames") >= self._max_frames
        if self.max_score is not None:
            cut |= observation.scores >= self.max_score
        truncated = cut & ~terminated & ~over & ~fresh
        self._ended = terminated | truncated | over
        self._crashed = terminated
        self._pictures.push(observation.pictures)
        if fresh.any():
            self._pictures.restart(observation.pictures, fresh)
        return self._pictures.observations(), rewards, terminated, truncated, self._info(observation)

    def think_aloud(self, game: int, values: Sequence[float], action: int, title: str):
        """Show a person, from the next step on, what the agent makes of one game."""
        self._watched = {
            "game": game,
            "values": [float(v) for v in values],
            "action": int(action),
            "title": title,
        }

    def _draw_next(self, game: int) -> tuple[int, GameSettings | None]:
        """What follows the end of a game: another, or the same from a moment before its crash."""
        seed, settings = self._draw_game(game, None)
        share = self._games[game].rewind_share
        rewind = self._crashed[game] and share and self.np_random.random() < share
        return seed, None if rewind else settings

    def _draw_game(self, game: int, seed: int | None) -> tuple[int, GameSettings]:
        if seed is None:
            seed = int(self.np_random.integers(DRAWN_SEEDS_FROM, 2**32))
        return seed, self._games[game].draw(self.np_random)

    def _info(self, observation: Observation) -> dict[str, Any]:
        everyone = np.ones(self.num_envs, bool)
        info: dict[str, Any] = {"score": observation.scores, "_score": everyone}
        for name in INFO_FIELDS:
            info[name] = observation.column(name).copy()
            info["_" + name] = everyone
        return info

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """The games' canvases, uint8 [150, W, 3] each, for "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return tuple(self.arena.canvas(game) for game in range(self.num_envs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of this environment, as if each game had it: Gymnasium's way of asking."""
        return (getattr(self, name),) * self.num_envs

    def close_extras(self, **kwargs: Any):
        """Stop the browser."""
        self.arena.close()


class DinoEnv(gymnasium.Env):
    """One real Dino game, under either clock. Spaces, rewards and endings are those of `DinoVectorEnv`.

    Under the live clock the browser's own time runs: a step returns the first picture that is
    `decision_interval_frames` frames or more after the last one, keys are real key events, and a game's
    seed and settings are the browser's own affair. `info["late_frames"]` says how late a step was.

    Args:
        clock: "lockstep" or "live".
        url: "chrome://dino" for the untouched page (live only); None for our served copy.
        game: settings, or a `GameVariation` to draw them from at each reset (lock-step only).
        decision_interval_frames, reward, num_actions, stack_size, stack_stride, max_score, headless:
            as for `DinoVectorEnv`.
        render_mode: besides "human" and "rgb_array" there is "rgb_array_list": all frames since the last
            `render`, under the live clock one for each step.

    Raises:
        BrowserError, PageError: see `dino_rl.errors`.
    """

    metadata = {"render_modes": ["human", "rgb_array", "rgb_array_list"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        clock: str = "lockstep",
        url: str | None = None,
        game: GameSettings | GameVariation = GameSettings(),
        decision_interval_frames: int = 4,
        reward: str = "survival",
        num_actions: int = len(ACTIONS),
        stack_size: int = 4,
        stack_stride: int = 1,
        max_score: int | None = None,
        render_mode: str | None = None,
        headless: bool | None = None,
    ):
        _check_options(reward, num_actions, decision_interval_frames, stack_size, stack_stride)
        self.decision_interval_frames = decision_interval_frames
        self.max_score = max_score
        self.render_mode = render_mode
        every_frame = render_mode == "rgb_array_list" and clock == "lockstep"
        fps = 60 if every_frame else round(60 / decision_interval_frames)
        self.metadata = {**self.metadata, "render_fps": fps}
        self._film: list[np.ndarray] = []
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, stack_size), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(num_actions)
        self._game_settings = _as_variation(game)
        self._step_reward, self._crash_reward = REWARDS[reward]
        self._pictures = _PictureStack(1, stack_size, stack_stride)
        self.score = 0
        self.game = Game(clock, url, headless=render_mode != "human" if headless is None else headless)
        self.game.filming = render_mode == "rgb_array_list"

    @property
    def browser_name(self) -> str:
        """Browser and version, for results."""
        return self.game.browser.name

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Restart the game; a given seed is the game's own."""
        super().reset(seed=seed)
        settings = self._game_settings.draw(self.np_random)
        if seed is None:
            seed = int(self.np_random.integers(DRAWN_SEEDS_FROM, 2**32))
        observation = self.game.restart(seed, settings)
        if self.game.filming:
            self._film = [self.game.canvas()]
        self._pictures.restart(observation.pictures, np.ones(1, bool))
        return self._pictures.observations()[0], self._info(observation)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Run `decision_interval_frames` frames (fewer if the dino crashes)."""
        observation = self.game.step(int(action), self.decision_interval_frames)
        self._film += self.game.film
        terminated = bool(observation.crashed[0])
        info = self._info(observation)
        truncated = not terminated and self.max_score is not None and info["score"] >= self.max_score
        self._pictures.push(observation.pictures)
        reward = self._crash_reward if terminated else self._step_reward
        return self._pictures.observations()[0], reward, terminated, truncated, info

    def _info(self, observation: Observation) -> dict[str, Any]:
        self.score = int(observation.scores[0])
        info: dict[str, Any] = {"score": self.score}
        for name in INFO_FIELDS:
            info[name] = float(observation.column(name)[0])
        info["late_frames"] = self.game.late_frames
        return info

    def render(self) -> np.ndarray | list[np.ndarray] | None:  # type: ignore[override]
        """The canvas, uint8 [150, W, 3]; for "rgb_array_list" that of each frame since the last call."""
        if self.render_mode == "rgb_array_list":
            film, self._film = self._film, []
            return film
        return self.game.canvas() if self.render_mode == "rgb_array" else None

    def close(self):
        """Stop the browser."""
        self.game.end()


class _PictureStack:
    """The last pictures of N games, as observations show them.

    Args:
        num_games: N.
        size: pictures in an observation.
        stride: steps from one of them to the next.
    """

    def __init__(self, num_games: int, size: int, stride: int):
        reach = (size - 1) * stride + 1
        self._stride = stride
        self._history = deque([np.zeros((num_games, SIZE, SIZE), np.uint8)] * reach, reach)

    def push(self, pictures: np.ndarray):
        """Add the newest pictures, uint8 [N, 80, 80]; the oldest go."""
        self._history.append(pictures)

    def restart(self, pictures: np.ndarray, games: np.ndarray):
        """In these games (bool [N]) the picture stands for all before it; the others stay as they are."""
        for i, before in enumerate(self._history):
            self._history[i] = np.where(games[:, None, None], pictures, before)

    def observations(self) -> np.ndarray:
        """uint8 [N, 80, 80, size], newest last."""
        return np.stack(list(self._history)[:: self._stride], axis=-1)


def _as_variation(game: GameSettings | GameVariation) -> GameVariation:
    return game if isinstance(game, GameVariation) else GameVariation(base=game)


def _check_options(reward: str, num_actions: int, *at_least_one: int):
    if reward not in REWARDS:
        raise DinoError(f"Unknown reward {reward!r}: use one of {', '.join(REWARDS)}.")
    if num_actions not in (2, 3):
        raise DinoError(f"num_actions is {num_actions}: use 2 (nothing, jump) or 3 (with duck).")
    if min(at_least_one) < 1:
        raise DinoError("num_envs, decision_interval_frames, stack_size and stack_stride must be 1 or more.")
