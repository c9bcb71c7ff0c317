"""Games drawn at random, for training."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Interval

from dino_rl.browser.game_settings import GameSettings
from dino_rl.errors import ConfigError
from dino_rl.registration import DINO_ID as DINO_ID

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class GameVariation:
    """Games drawn at random around a base. The defaults draw the base itself.

    Training varies what differs between live games (the dino's position, frame times, delays), and shows all
    speeds from the first minute on.
    """

    base: GameSettings = field(default_factory=GameSettings)
    """Settings of everything that is not varied."""
    start_speed: tuple[float, float] = (6.0, 6.0)
    """Range of random start speeds, in pixels per frame."""
    random_start_share: Share = 0.0
    """Share of games that start at a speed drawn uniformly from `start_speed`."""
    full_speed_share: Share = 0.0
    """Share of games that start at the upper end of `start_speed`."""
    tight_gaps_share: Share = 0.0
    """Share of games with a `max_gap` drawn uniformly between `tightest_gap` and the base's."""
    tightest_gap: Annotated[float, Gt(0)] = 1.0
    """As `GameSettings.max_gap`. Below 1, gaps are narrower than the game's own: an agent that masters them
    has a margin in the game."""
    bird_odds: tuple[int, int] | None = None
    """Range of `GameSettings.bird_odds`, drawn for each game; null: the base's. A bird at the height of the
    dino's head, which is the hardest obstacle, is a ninth of the game's own at full speed, and none of the
    slow ones."""
    constant_speed_share: Share = 0.0
    """Share of games at the base's speed, without acceleration and with even frames, as only lock-step has
    them. At a speed of exactly 6, rounding moves an obstacle by 5 or 6 pixels in a rhythm that no other game
    has."""
    night_every: tuple[int, int] | None = None
    """Range of `GameSettings.night_every`, drawn for each game; null: the base's. Short games would never
    reach a night at the game's own 700 points."""
    dino_x: tuple[int, int] | None = None
    """Range of `GameSettings.dino_x` in pixels, drawn for each game; null: the base's."""
    frame_jitter_ms: tuple[float, float] | None = None
    """Range of `GameSettings.frame_jitter_ms`, drawn log-uniformly for each game; null: the base's. The
    frames of a live game vary, and in each the distance that an obstacle moves is rounded down."""
    long_frame_share: tuple[float, float] = (0.0, 0.0)
    """Range of `GameSettings.long_frame_share`, drawn for each game; zeros: the base's."""
    delay_concentrations: tuple[Annotated[float, Gt(0)], ...] = ()
    """Concentrations of the Dirichlet distribution that each game draws its `GameSettings.action_delay` from;
    empty: the base's."""
    rewind_share: Share = 0.0
    """Share of crashes after which the game is rewound by half a second to two seconds instead of restarted.
    The situation occurs again at once, and what follows is drawn anew."""
    max_frames: Annotated[int, Ge(1)] | None = None
    """Truncate a game after this many frames; null: never. A good agent would otherwise rarely see the slow
    speeds again, and forget them."""

    def __post_init__(self):
        ranges = ("start_speed", "bird_odds", "night_every", "dino_x", "frame_jitter_ms", "long_frame_share")
        for name in ranges:
            ends = getattr(self, name)
            if ends and ends[0] > ends[1]:
                raise ConfigError(f"{name} is {list(ends)}: the lower end of a range comes first.")

    def as_live(self, base: GameSettings, max_frames: int | None = None) -> "GameVariation":
        """Whole games around `base` that vary only in what differs between live games, which depends on the
        display and the machine: the dino's position, frame times and delays."""
        return GameVariation(
            base,
            dino_x=self.dino_x,
            frame_jitter_ms=self.frame_jitter_ms,
            long_frame_share=self.long_frame_share,
            delay_concentrations=self.delay_concentrations,
            max_frames=max_frames,
        )

    def draw(self, rng: np.random.Generator) -> GameSettings:
        """Settings of one game."""
        changes: dict[str, Any] = {}
        if self.dino_x:
            changes["dino_x"] = int(rng.integers(self.dino_x[0], self.dino_x[1] + 1))
        if self.frame_jitter_ms:
            changes["frame_jitter_ms"] = float(np.exp(rng.uniform(*np.log(self.frame_jitter_ms))))
        if any(self.long_frame_share):
            changes["long_frame_share"] = float(rng.uniform(*self.long_frame_share))
        shares = (self.full_speed_share, self.random_start_share, self.constant_speed_share)
        match np.searchsorted(np.cumsum(shares), rng.random(), side="right"):
            case 0:
                changes["start_speed"] = float(self.start_speed[1])
            case 1:
                changes["start_speed"] = float(rng.uniform(*self.start_speed))
            case 2:
                changes |= {"constant_speed": True, "frame_jitter_ms": 0.0, "long_frame_share": 0.0}
        if self.night_every:
            changes["night_every"] = int(rng.integers(self.night_every[0], self.night_every[1] + 1))
        if rng.random() < self.tight_gaps_share:
            changes["max_gap"] = float(rng.uniform(self.tightest_gap, self.base.max_gap))
        if self.delay_concentrations:
            weights = rng.dirichlet(self.delay_concentrations)
            changes["action_delay"] = tuple(float(weight) for weight in weights)
        if self.bird_odds:
            changes["bird_odds"] = int(rng.integers(self.bird_odds[0], self.bird_odds[1] + 1))
        if self.rewind_share:
            changes["rewindable"] = True
        return GameSettings(**{**asdict(self.base), **changes})
