"""How one lock-step game is set up."""

from dataclasses import asdict, dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True)
class GameSettings:
    """Settings of one lock-step game. The defaults are the game as Chrome runs it on a 60 Hz display."""

    start_speed: Annotated[float, Interval(gt=0, le=100)] = 6.0
    """Speed at the start, in pixels per frame. The game itself starts at 6 and accelerates to 13."""
    constant_speed: bool = False
    """No acceleration."""
    birds: bool = True
    """Whether birds appear among the obstacles."""
    bird_odds: Annotated[int, Interval(ge=1, le=100)] = 1
    """How often a bird is drawn as the next obstacle for each time that a small cactus is: once in the game,
    from a speed of 8.5 on. Obstacles of one kind never come three times in a row."""
    clear_time_ms: Annotated[float, Interval(ge=0, le=1e12)] = 3000.0
    """Time without obstacles at the start, in milliseconds."""
    max_gap: Annotated[float, Interval(gt=0, le=100)] = 1.5
    """Widest gap between two obstacles, as a multiple of the game's own narrowest gap."""
    night_every: Annotated[int, Interval(gt=0, lt=2**31)] = 700
    """Score points from one night to the next. A night lasts 12 s; no night begins during another."""
    dino_x: Annotated[int, Interval(ge=0, le=600)] = 24
    """Horizontal position of the dino after the intro, in pixels: 24 on a 60 Hz display, 0 at 120 Hz."""
    frame_jitter_ms: Annotated[float, Interval(ge=0, le=16)] = 0.0
    """Each frame lasts 1000/60 ms plus or minus a uniformly drawn time up to this, in milliseconds."""
    long_frame_share: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Probability that a frame lasts twice as long, as when a display skips one."""
    action_delay: tuple[Annotated[float, Interval(ge=0, le=1)], ...] = (1.0,)
    """Probabilities that an action takes effect 0, 1, 2... frames late."""
    rewindable: bool = False
    """Save the last moments of the game, so that it can be rewound to one of them after a crash."""

    def for_page(self) -> dict:
        """The settings as `game/bridge.js` reads them."""
        return asdict(self)
