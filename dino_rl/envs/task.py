"""What training, evaluation and the command line ask of an environment: the `Task`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np

from dino_rl.errors import DinoError
from dino_rl.spec import TaskSpec


@dataclass(frozen=True)
class Pictures:
    """The games of an environment as a person sees them: all of them as sprites, or one as an image, or none
    where the observations are all there is to see."""

    sprites: bytes = b""
    """Int16, what each game drew: see `game/arena.js`."""
    sheets: tuple[str, ...] = ()
    """The images that the sprites are in, as data URLs."""
    png: bytes = b""
    """A file with an image of one game..."""
    image: np.ndarray | None = None
    """... or its pixels, uint8 [H, W, 3]."""
    game: int = 0
    """Which game that is."""


@dataclass(frozen=True)
class PlayOptions:
    """How games are played to be measured or watched. None: the task's own default."""

    clock: str | None = None
    """"lockstep" or "live"."""
    url: str | None = None
    """The page to play on; None: the served copy of the game."""
    max_score: int | None = None
    """End a game at this score."""
    constant_speed: bool | None = None
    """No acceleration."""
    overlay: bool | None = None
    """Show what the network sees in the game's own window."""
    save_replays: Any = None
    """Directory for recorded games."""
    in_page: bool | None = None
    """The agent plays inside the game's page, as the exported JavaScript file. None: where it can."""

    def __post_init__(self):
        """Raises DinoError of options that contradict each other."""
        if self.url and self.clock == "lockstep":
            raise DinoError(f"{self.url} keeps its own time: use --clock live.")
        if self.clock == "live" and self.constant_speed:
            raise DinoError(
                "A live game keeps its own speed: leave out --constant-speed, or use --clock lockstep."
            )
        if self.in_page and self.clock == "lockstep":
            raise DinoError("--in-page plays in real time: use --clock live.")
        if self.clock == "live" and self.save_replays:
            raise DinoError(
                "A live game cannot be replayed: leave out --save-replays, or use --clock lockstep."
            )


class Task(ABC):
    """One kind of environment: how it is made for training, evaluation and watching, and what is known of it.

    Args:
        config: of the environment; a dataclass with `id`, `num_envs` and `greedy_envs`.
    """

    play_defaults: ClassVar[dict[str, Any]] = {}
    """The fields of `PlayOptions` that this task knows, each with its default."""
    shows_frames: ClassVar[bool] = False
    """The newest frame of an observation can be read on a terminal: dark on white."""
    window_while_recording: ClassVar[bool] = False
    """A game can have a window and be recorded at the same time."""
    repeatable: ClassVar[bool] = False
    """Equal seeds and actions give equal games, if they do not run in real time."""

    def __init__(self, config: Any):
        self.config = config

    @property
    @abstractmethod
    def spec(self) -> TaskSpec:
        """Observations and actions. Nothing is started to know it."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what the environment consists of, by name."""

    # --- Environments -------------------------------------------------------------------------------------

    @abstractmethod
    def make_training_env(self, pictures: bool = False) -> gymnasium.vector.VectorEnv:
        """The environments to learn in: next-step autoreset, and seeds that no evaluation uses.

        Args:
            pictures: they will be asked for `pictures`.
        """

    @abstractmethod
    def make_validation_envs(
        self, num_envs: int, max_score: int | None
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """Environments without autoreset to choose a run's best model in, for `play_in_parallel`."""

    @abstractmethod
    def make_evaluation_envs(
        self, num_envs: int, options: PlayOptions
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """Environments without autoreset to measure an agent in, for `play_in_parallel`."""

    @abstractmethod
    def make_single_env(
        self, options: PlayOptions, window: bool = False, record: bool = False, pictures: bool = False
    ) -> gymnasium.vector.VectorEnv:
        """One environment, as a vector environment of one without autoreset.

        Args:
            options: complete ones, from `complete`.
            window: show it in a window.
            record: `render` returns the frames since the last call.
            pictures: it will be asked for `pictures`, if it has neither of these.
        """

    @abstractmethod
    def make_watch_envs(
        self, num_envs: int, max_score: int, window: bool = False, record: bool = False
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """Environments without autoreset, with `num_envs` games in all, to be watched side by side.

        Args:
            num_envs: games.
            max_score: end a game at this score, where games have one.
            window: show all of them in one window, if `window_while_recording`.
            record: `render` returns the canvas of each game, or a list of those since the last call.
        """

    # --- Options ------------------------------------------------------------------------------------------

    def complete(self, given: PlayOptions, **defaults: Any) -> PlayOptions:
        """The options with their defaults: the caller's, of options that this task knows, then the task's.

        Raises:
            DinoError: an option that this task does not know was given, or two that contradict each other.
        """
        filled = {}
        for name, value in vars(given).items():
            if value is None and name in self.play_defaults:
                filled[name] = defaults.get(name, self.play_defaults[name])
            elif value is not None and name not in self.play_defaults:
                flag = name.replace("_", "-")
                raise DinoError(f"{self.config.id} has no --{flag}: leave it out.")
        return replace(given, **filled)

    def game_settings(self, options: PlayOptions) -> dict[str, Any]:
        """Plain data that starts the same game again, where games can be recorded as their actions."""
        raise DinoError(f"Games of {self.config.id} cannot be recorded as their actions.")

    # --- Watching and reporting ---------------------------------------------------------------------------

    def annotate(  # noqa: B027 - a task without such a window does nothing
        self, env: gymnasium.vector.VectorEnv, values: np.ndarray, action: int, title: str
    ) -> None:
        """Show in the window of an environment from `make_single_env`, from the next step on, what the agent
        computed.

        Args:
            env: the environment.
            values: float [A], Q-values or probabilities.
            action: the chosen one.
            title: one line.
        """

    def label(  # noqa: B027 - a task without such a window does nothing
        self, env: gymnasium.vector.VectorEnv, labels: Sequence[Sequence[str]]
    ) -> None:
        """Write beside each game in the window of `make_watch_envs`: a title, and two lines."""

    def pictures(self, env: gymnasium.vector.VectorEnv) -> Pictures | None:
        """The games after the last step of an environment that this task made. None: ask again after the
        next step, which will make them."""
        return Pictures()

    def score_of(self, env: gymnasium.vector.VectorEnv) -> float:
        """Score of the game in an environment from `make_single_env`."""
        return 0.0

    def pace_s(self, options: PlayOptions) -> float:
        """Seconds that a step lasts at the game's own speed, where the environment runs faster than that."""
        return 0.0

    def report(self, episodes: Iterable[Any], options: PlayOptions) -> dict[str, Any]:
        """What an evaluation says of this task beside the scores, as plain data."""
        return {}

    def describe_end(self, infos: dict[str, Any], i: int) -> dict[str, str]:
        """How the game of environment `i` ended, from the `infos` of its last step: "obstacle", "doing" and
        "speed" in words; empty if nothing is known."""
        return {}

    def count_ends(self, report: dict[str, Any]) -> list[tuple[str, int]]:
        """How often games ended in which way, most frequent first, from a `report`."""
        return []

    def delays(self, env: gymnasium.vector.VectorEnv) -> dict[str, Any]:
        """Delays between frame and key under the live clock; empty where there are none."""
        return {}
