"""Chrome's Dino game as Gymnasium environments: many games in one page, or one."""

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dino_rl.browser import Arena, Arenas, Game
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import Observation
from dino_rl.envs.dino.episodes import Episodes, Games
from dino_rl.envs.dino.options import DinoOptions
from dino_rl.envs.dino.variation import GameVariation
from dino_rl.envs.task import Pictures
from dino_rl.errors import DinoError

NO_PICKLE = "An environment owns a browser and cannot be pickled or copied: pickle its `spec`."


class DinoVectorEnv(gymnasium.vector.VectorEnv):
    """Many real Dino games in one page of one browser, under the lock-step clock.

    ## Action Space
    `Discrete(3)` for each game: 0 nothing, 1 jump (hold the up key), 2 duck (hold the down key);
    `Discrete(2)` with `num_actions=2`. A key stays down as long as its action is repeated. Releasing up cuts
    a jump short; down in the air makes the dino drop.

    ## Observation Space
    `Box(0, 255, (80, 80, 4), uint8)` for each game: four frames, `stack_stride` steps apart, newest last.
    After a reset all four are the first frame. `game/agent_frame.js` defines how a frame is computed.

    ## Rewards
    "survival": +0.01 for a step survived, -1 for a crash; "tutorial": +0.1 and -1.

    ## Starting State
    The game after its intro, without obstacles for the first three seconds; or as `game` says. With a
    `GameVariation` that has a `rewind_share`, an episode that follows a crash may start at a moment before
    that crash, unless `reset` is given a seed.

    ## Episode End
    Terminated at the crash. Truncated when the score reaches `max_score`, after `max_episode_steps`, or after
    the `max_frames` of the game's `GameVariation`. What follows depends on `autoreset_mode`, as with
    Gymnasium's own vector environments. With DISABLED, a game that has ended waits for `reset`; its rewards
    are 0.

    ## Info
    `score` (by the distance), `speed`, `seed`, and for statistics `obstacle`, `obstacle_size`, `obstacle_y`,
    `night`, `jumping`, `ducking`: arrays [num_envs], with Gymnasium's `_name` masks. With SAME_STEP, steps in
    which games end have `final_obs` and `final_info`.

    Args:
        num_envs: number of games.
        game: settings of all games, or a `GameVariation` that draws them at each reset; or one for each game.
        max_score: truncate an episode at this score; None: never.
        max_episode_steps: truncate an episode after this many steps; None: never.
        autoreset_mode: NEXT_STEP (Gymnasium's default), SAME_STEP, or DISABLED (`reset` with a `reset_mask`).
        render_mode: "rgb_array", "human" (a window, at the game's own speed) or None.
        headless: no window; None: decided by `render_mode`.
        browsers: number of browsers that the games are spread over, to use more cores.
        options: fields of `DinoOptions`, which are the same for `DinoEnv`.

    Raises:
        DinoError: an option that is not possible.
        BrowserError, PageError: see `dino_rl.errors`; after `close`, too.
    """

    metadata = {  # noqa: RUF012  (Gymnasium's interface)
        "render_modes": ["human", "rgb_array"],
        "render_fps": 30,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    closed = True  # nothing to close until the browser runs

    def __init__(
        self,
        num_envs: int = 1,
        game: Games = GameSettings(),
        max_score: int | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        headless: bool | None = None,
        browsers: int = 1,
        **options: Any,
    ):
        dino_options = DinoOptions(**options)
        if num_envs < 1:
            raise DinoError(f"num_envs is {num_envs}: use 1 or more.")
        if not 1 <= browsers <= num_envs:
            raise DinoError(f"{num_envs} games cannot be spread over {browsers} browsers.")
        self.num_envs = num_envs
        self.decision_interval_frames = dino_options.decision_interval_frames
        self.render_mode = render_mode
        self._autoreset = AutoresetMode(autoreset_mode)
        self.metadata = {
            **self.metadata,
            "autoreset_mode": self._autoreset,
            "render_fps": round(60 / self.decision_interval_frames),
        }
        self._episodes = Episodes(num_envs, game, dino_options, max_score, max_episode_steps)
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._draws: bytes | None = b""  # of the last step; None: to be asked for in the next
        self._pace = _Pace(self.decision_interval_frames / 60 if render_mode == "human" else 0.0)
        if headless is None:
            headless = render_mode != "human"
        self.arena = Arena(num_envs, headless) if browsers == 1 else Arenas(num_envs, browsers, headless)
        self.closed = False

    @property
    def browser_name(self) -> str:
        """Browser and version."""
        return self.arena.browser.name

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset all games, or those of `options["reset_mask"]` (bool [num_envs]).

        A given seed is the game's own seed: game i gets `seed + i`, or its entry of the sequence. It also
        determines everything that the environment draws from then on.

        Raises:
            DinoError: the mask, or the sequence of seeds, has the wrong length.
            ResetNeeded: the first call resets only some games.
        """
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            seeds: list[int | None] = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
            super().reset(seed=next((one for one in seeds if one is not None), None))
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"], bool)
        if len(seeds) != self.num_envs or mask.shape != (self.num_envs,):
            raise DinoError(f"seed and reset_mask must have one entry for each of the {self.num_envs} games.")
        if not (self._episodes.started or mask.all()):
            raise ResetNeeded("Reset all games before you reset some of them.")
        observation = self.arena.step(resets=self._next_games(mask, seeds))
        self._episodes.begin(observation, mask)
        return self._episodes.observations(), self._info(observation)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Run `decision_interval_frames` frames of every game (fewer if the dino crashes).

        Args:
            actions: int [num_envs].

        Raises:
            InvalidAction: the actions are not in the action space.
            ResetNeeded: the environment has not been reset.
        """
        actions = np.asarray(actions)
        if not (
            actions.shape == (self.num_envs,)
            and np.issubdtype(actions.dtype, np.integer)
            and ((actions >= 0) & (actions < self._episodes.action_space.n)).all()
        ):
            raise InvalidAction(f"{actions} is not in the action space {self.action_space}.")
        if not self._episodes.started:
            raise ResetNeeded("Call reset before step.")
        fresh = self._episodes.over & (self._autoreset == AutoresetMode.NEXT_STEP)
        resets = self._next_games(fresh)
        draws = self._draws is None
        observation = self.arena.step(actions, self.decision_interval_frames, resets, draws)
        self._draws = observation.draws
        rewards, terminated, truncated = self._episodes.advance(observation, fresh)
        final: dict[str, Any] = {}
        if self._autoreset == AutoresetMode.SAME_STEP and self._episodes.over.any():
            final, observation = self._reset_in_same_step(observation)
        self._pace.wait()
        return self._episodes.observations(), rewards, terminated, truncated, self._info(observation) | final

    def _reset_in_same_step(self, observation: Observation) -> tuple[dict[str, Any], Observation]:
        """Reset the games that have ended. Returns their final observations and infos, in the layout of
        `gymnasium.vector.SyncVectorEnv`, and the new observation of all games."""
        over = self._episodes.over.copy()
        final_obs = np.full(self.num_envs, None, object)
        observations = self._episodes.observations()
        for i in np.flatnonzero(over):
            final_obs[i] = observations[i]
        final_info: dict[str, Any] = {}
        for name, values in self._episodes.info(observation).items():
            final_info[name] = np.where(over, values, 0)
            final_info["_" + name] = over
        observation = self.arena.step(resets=self._next_games(over))
        self._episodes.begin(observation, over)
        final = {"final_obs": final_obs, "_final_obs": over, "final_info": final_info, "_final_info": over}
        return final, observation

    def take_pictures(self) -> Pictures | None:
        """All games after the last step; None: the next step will have them."""
        draws, self._draws = self._draws, b""
        if draws:
            return Pictures(sprites=draws, sheets=self.arena.sheets)
        self._draws = None
        return None

    def _next_games(
        self, mask: np.ndarray, seeds: Sequence[int | None] | None = None
    ) -> dict[int, tuple[int, GameSettings | None]]:
        return {
            i: self._episodes.next_game(i, self.np_random, seeds[i] if seeds else None)
            for i in np.flatnonzero(mask).tolist()
        }

    def _info(self, observation: Observation) -> dict[str, Any]:
        everyone = np.ones(self.num_envs, bool)
        info: dict[str, Any] = {}
        for name, values in self._episodes.info(observation).items():
            info[name] = values
            info["_" + name] = everyone
        return info

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """The games' canvases, uint8 [150, W, 3] each, with "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return tuple(self.arena.canvases())

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of this environment, once for each game, as with `SyncVectorEnv`."""
        return (getattr(self, name),) * self.num_envs

    def close_extras(self, **kwargs: Any):
        """Stop the browser."""
        self.arena.close()

    def __reduce__(self):
        raise TypeError(NO_PICKLE)


class DinoEnv(gymnasium.Env):
    """One real Dino game, under either clock. Spaces, rewards, starts and ends are those of `DinoVectorEnv`.

    Under the live clock the game runs in real time: a step returns the first frame that is
    `decision_interval_frames` or more frames after the last observation, and keys are real key events. The
    browser determines the game, so seeds and game settings have no effect; of a `GameVariation`, only
    `max_frames` has. `info["late_frames"]` is how many frames later than requested the observation was.

    Args:
        clock: "lockstep" or "live".
        url: "chrome://dino" for the unmodified page (live only); None for the served copy.
        game: settings, or a `GameVariation` that draws them at each reset.
        max_score, max_episode_steps: as `DinoVectorEnv`.
        render_mode: besides "human" and "rgb_array" there is "rgb_array_list": all frames since the last
            `render`, under the live clock one for each step.
        headless, options: as `DinoVectorEnv`.

    Raises:
        DinoError: an option that is not possible.
        BrowserError, PageError: see `dino_rl.errors`; after `close`, too.
    """

    metadata = {"render_modes": ["human", "rgb_array", "rgb_array_list"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        clock: str = "lockstep",
        url: str | None = None,
        game: GameSettings | GameVariation = GameSettings(),
        max_score: int | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        headless: bool | None = None,
        **options: Any,
    ):
        dino_options = DinoOptions(**options)
        self.decision_interval_frames = dino_options.decision_interval_frames
        self.render_mode = render_mode
        every_frame = render_mode == "rgb_array_list" and clock == "lockstep"
        fps = 60 if every_frame else round(60 / self.decision_interval_frames)
        self.metadata = {**self.metadata, "render_fps": fps}
        self._recorded_frames: list[np.ndarray] = []
        self._episodes = Episodes(1, game, dino_options, max_score, max_episode_steps)
        self.observation_space = self._episodes.observation_space
        self.action_space = self._episodes.action_space
        self.score = 0
        paced = render_mode == "human" and clock == "lockstep"
        self._pace = _Pace(self.decision_interval_frames / 60 if paced else 0.0)
        self.game = Game(clock, url, headless=render_mode != "human" if headless is None else headless)
        self.game.recording = render_mode == "rgb_array_list"

    @property
    def browser_name(self) -> str:
        """Browser and version."""
        return self.game.browser.name

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset the game. A given seed is the game's own seed, and determines what is drawn from then on."""
        super().reset(seed=seed)
        observation = self.game.restart(*self._episodes.next_game(0, self.np_random, seed))
        if self.game.recording:
            self._recorded_frames = [self.game.canvas()]
        self._episodes.begin(observation, np.ones(1, bool))
        return self._episodes.observations()[0], self._info(observation)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Run `decision_interval_frames` frames (fewer if the dino crashes).

        An episode that is over has rewards of 0 until `reset`.

        Raises:
            InvalidAction: the action is not in the action space.
            ResetNeeded: the environment has not been reset.
        """
        if not self.action_space.contains(action):
            raise InvalidAction(f"{action!r} is not in the action space {self.action_space}.")
        if not self._episodes.started:
            raise ResetNeeded("Call reset before step.")
        observation = self.game.step(int(action), self.decision_interval_frames)
        self._recorded_frames += self.game.recorded_frames
        rewards, terminated, truncated = self._episodes.advance(observation)
        info = self._info(observation)
        self._pace.wait()
        return (
            self._episodes.observations()[0],
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            info,
        )

    def annotate(self, values: Sequence[float], action: int, title: str):
        """As `Game.annotate`."""
        self.game.annotate([float(value) for value in values], int(action), title)

    def take_pictures(self) -> Pictures | None:
        """The game after the last step; None: the next step will have a picture."""
        picture, self.game.picture = self.game.picture, b""
        self.game.picture_wanted = not picture
        return Pictures(png=picture) if picture else None

    def _info(self, observation: Observation) -> dict[str, Any]:
        info = {name: values.item() for name, values in self._episodes.info(observation).items()}
        self.score = info["score"]
        if self.game.clock == "live":
            info["late_frames"] = self.game.late_frames
        return info

    def render(self) -> np.ndarray | list[np.ndarray] | None:  # type: ignore[override]
        """The canvas, uint8 [150, W, 3]; with "rgb_array_list" that of each frame since the last call."""
        if self.render_mode == "rgb_array_list":
            frames, self._recorded_frames = self._recorded_frames, []
            return frames
        return self.game.canvas() if self.render_mode == "rgb_array" else None

    def close(self):
        """Stop the browser. A second call has no effect."""
        self.game.end()

    def __reduce__(self):
        raise TypeError(NO_PICKLE)


class _Pace:
    """Slows steps down to the speed of the game, for a person who watches.

    Args:
        step_s: duration of a step, in seconds; 0: no delay.
    """

    def __init__(self, step_s: float):
        self._step_s = step_s
        self._due = 0.0

    def wait(self):
        """Wait until the current step is over."""
        if self._step_s:
            now = time.monotonic()
            self._due = max(self._due + self._step_s, now)  # a late step does not make later ones faster
            time.sleep(self._due - now)
