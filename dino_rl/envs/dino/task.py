"""Chrome's Dino game as a `Task`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import gymnasium
import numpy as np
from annotated_types import Ge, Interval
from gymnasium.vector import AutoresetMode

from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import SIZE
from dino_rl.envs.dino.deaths import ENDING_FIELDS, EndedGame, circumstances, count, deaths
from dino_rl.envs.dino.options import ACTIONS, DinoOptions
from dino_rl.envs.dino.variation import DINO_ID, GameVariation
from dino_rl.envs.task import Pictures, PlayOptions, Task
from dino_rl.spec import ObservationSpec, TaskSpec


@dataclass(frozen=True)
class DinoConfig(DinoOptions):
    """How the Dino's environments are made."""

    id: Literal["ChromeDino-v0"] = DINO_ID
    """Gymnasium's id."""
    num_envs: Annotated[int, Interval(ge=1, le=4096)] = 16
    """Games in one page, which step together."""
    greedy_envs: Annotated[int, Ge(0)] = 4
    """Of these, how many never explore and play whole games from the start."""
    variation: GameVariation = field(default_factory=GameVariation)
    """How the exploring games of training vary. Evaluation plays the game as it is."""
    greedy_max_frames: Annotated[int, Ge(1)] | None = None
    """Truncate the greedy games of training after this many frames; null: never."""


class DinoTask(Task):
    """The Dino game, lock-step or live."""

    config: DinoConfig
    play_defaults: ClassVar[dict[str, Any]] = {
        "clock": "lockstep",
        "url": None,
        "max_score": None,
        "constant_speed": False,
        "overlay": False,
        "save_replays": None,
        "in_page": None,
    }
    shows_frames = True
    window_while_recording = True
    repeatable = True

    @cached_property
    def spec(self) -> TaskSpec:
        shape = (SIZE, SIZE, self.config.stack_size)
        return TaskSpec(
            ObservationSpec(shape, np.dtype(np.uint8), self.config.stack_stride),
            ACTIONS[: self.config.num_actions],
            info_keys=("speed",),
            ending_keys=ENDING_FIELDS,
            frame="canvas rows 24-150, on white, area mean to 80x80 grayscale, newest of the stack last",
            score="score",
        )

    def versions(self) -> dict[str, str]:
        return {"browser": self._browser}

    @cached_property
    def _browser(self) -> str:
        """Asked once: the browser takes a third of a second to print its version."""
        from dino_rl.browser.chrome import installed_browser

        return installed_browser()

    # --- Environments -------------------------------------------------------------------------------------

    def make_training_env(self, pictures: bool = False) -> gymnasium.vector.VectorEnv:
        config = self.config
        whole = config.variation.as_live(config.variation.base, config.greedy_max_frames)
        varied = config.num_envs - config.greedy_envs
        return self._make_vector(
            config.num_envs,
            game=[config.variation] * varied + [whole] * config.greedy_envs,
        )

    def make_validation_envs(
        self, num_envs: int, max_score: int | None
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """Half of the games are the game as it is. The others vary as live games do and start at all speeds:
        in a short run, no game would last until full speed."""
        variation = self.config.variation
        varied = replace(
            variation.as_live(GameSettings()),
            start_speed=variation.start_speed,
            random_start_share=0.5,
            full_speed_share=0.5,
        )
        return self._make_halves(num_envs, (GameSettings(), varied), max_score)

    def make_evaluation_envs(
        self, num_envs: int, options: PlayOptions
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        if options.clock == "live":
            yield self.make_single_env(options)
            return
        game = _game(options)
        yield from self._make_halves(num_envs, (game, game), options.max_score)

    def make_single_env(
        self, options: PlayOptions, window: bool = False, record: bool = False, pictures: bool = False
    ) -> gymnasium.vector.VectorEnv:
        from dino_rl.envs.dino.env import DinoEnv

        def make() -> DinoEnv:
            return DinoEnv(
                options.clock or "lockstep",
                options.url,
                game=_game(options),
                max_score=options.max_score,
                headless=not window,
                render_mode="rgb_array_list" if record else None,
                **self._env_options(),
            )

        return gymnasium.vector.SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)

    def make_watch_envs(
        self, num_envs: int, max_score: int, window: bool = False, record: bool = False
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """All games in one page."""
        yield self._make_vector(
            num_envs,
            max_score=max_score,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode="rgb_array" if record else None,
            headless=not window,
        )

    def _make_halves(
        self, num_envs: int, games: tuple[Any, Any], max_score: int | None
    ) -> Iterator[gymnasium.vector.VectorEnv]:
        """Two environments, whose browsers take turns with the network."""
        for share, game in zip((num_envs - num_envs // 2, num_envs // 2), games, strict=True):
            if share:
                yield self._make_vector(
                    share, game=game, max_score=max_score, autoreset_mode=AutoresetMode.DISABLED
                )

    def _make_vector(self, num_envs: int, **options: Any) -> gymnasium.vector.VectorEnv:
        from dino_rl.envs.dino.env import DinoVectorEnv

        return DinoVectorEnv(num_envs, **options, **self._env_options())

    def _env_options(self) -> dict[str, Any]:
        return {each.name: getattr(self.config, each.name) for each in fields(DinoOptions)}

    # --- Options ------------------------------------------------------------------------------------------

    def game_settings(self, options: PlayOptions) -> dict[str, Any]:
        return asdict(_game(options))

    # --- Watching and reporting ---------------------------------------------------------------------------

    def annotate(self, env: gymnasium.vector.VectorEnv, values: np.ndarray, action: int, title: str) -> None:
        _inner(env).annotate(values.tolist(), int(action), title)

    def pictures(self, env: gymnasium.vector.VectorEnv) -> Pictures | None:
        return _inner(env).take_pictures()

    def label(self, env: gymnasium.vector.VectorEnv, labels: Sequence[Sequence[str]]) -> None:
        env.arena.label(labels)  # type: ignore[attr-defined]

    def score_of(self, env: gymnasium.vector.VectorEnv) -> float:
        return _inner(env).score

    def pace_s(self, options: PlayOptions) -> float:
        return self.config.decision_interval_frames / 60 if options.clock == "lockstep" else 0.0

    def report(self, episodes: Iterable[EndedGame], options: PlayOptions) -> dict[str, Any]:
        return {
            "deaths": deaths(episodes),
            "clock": options.clock,
            "url": options.url,
            "in_page": bool(options.in_page),
            "constant_speed": options.constant_speed,
            "max_score": options.max_score,
            "decision_interval_frames": self.config.decision_interval_frames,
        }

    def describe_end(self, infos: dict[str, Any], i: int) -> dict[str, str]:
        if "obstacle" not in infos:
            return {}
        return circumstances({name: values[i] for name, values in infos.items() if not name.startswith("_")})

    def count_ends(self, report: dict[str, Any]) -> list[tuple[str, int]]:
        return count(report["deaths"])

    def delays(self, env: gymnasium.vector.VectorEnv) -> dict[str, Any]:
        """Of the last thousands of keys: median and 99th percentile in ms, and the shares of those that came
        0, 1, 2... frames after the frame that they answer."""
        taken = _inner(env).game.take_delays()
        if not taken["frames"]:
            return {"keys": 0}
        return {
            "keys": len(taken["frames"]),
            "median_ms": float(np.median(taken["milliseconds"])),
            "p99_ms": float(np.percentile(taken["milliseconds"], 99)),
            "frames": (np.bincount(taken["frames"]) / len(taken["frames"])).round(4).tolist(),
        }


def _inner(env: gymnasium.vector.VectorEnv) -> Any:
    """The environment of this project behind wrappers."""
    bare = env.unwrapped
    return bare.envs[0].unwrapped if isinstance(bare, gymnasium.vector.SyncVectorEnv) else bare


def _game(options: PlayOptions) -> GameSettings:
    return GameSettings(constant_speed=bool(options.constant_speed))
