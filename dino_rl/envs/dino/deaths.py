"""Why games end: what the dino ran into, at what speed, and what it was doing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

OBSTACLES = ("small cactus", "large cactus", "bird")  # in the order of game/bridge.js
NIGHT_EVERY = 700  # score points
ENDING_FIELDS = ("speed", "obstacle", "obstacle_size", "obstacle_y", "night", "jumping", "ducking")


class EndedGame(Protocol):
    """A game that has ended."""

    @property
    def seed(self) -> int:
        """Of the game."""

    @property
    def score(self) -> float:
        """At the end."""

    @property
    def capped(self) -> bool:
        """Truncated, not crashed."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Of the last step."""


def circumstances(info: Mapping[str, Any]) -> dict[str, str]:
    """What the dino ran into, what it did, and how fast: from the `info` of the last step."""
    kind = int(info["obstacle"])
    if kind < 0:
        obstacle = "nothing in sight"
    elif OBSTACLES[kind] == "bird":
        obstacle = f"bird at height {150 - int(info['obstacle_y'])}"
    else:
        obstacle = f"{int(info['obstacle_size'])} {OBSTACLES[kind]}"
    doing = "jumping" if info["jumping"] else "ducking" if info["ducking"] else "running"
    speed = int(info["speed"])
    return {"obstacle": obstacle, "speed": f"{speed}-{speed + 1}", "doing": doing}


def describe(game: EndedGame) -> dict[str, str | int]:
    """One crash in words and bands."""
    return {
        "seed": game.seed,
        "score": int(game.score),
        **circumstances(game.info),
        "light": "night" if game.info["night"] else "day",
        "after_night_began": int(game.score) % NIGHT_EVERY,
    }


def deaths(games: Iterable[EndedGame]) -> list[dict[str, str | int]]:
    """Descriptions of all Dino games that ended in a crash."""
    return [describe(game) for game in games if not game.capped and "obstacle" in game.info]


def count(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """How often each combination of obstacle, action and speed occurred, most frequent first."""
    return Counter(f"{row['obstacle']}, {row['doing']}, speed {row['speed']}" for row in rows).most_common()
