"""Why games end: what the dino ran into, how fast, and what it was doing."""

from collections import Counter
from collections.abc import Iterable

from dino_rl.evaluate import Game

OBSTACLES = ("small cactus", "large cactus", "bird")  # the order of game/bridge.js
NIGHT_EVERY = 700  # points


def describe(game: Game) -> dict[str, str | int]:
    """One crash in words and bands."""
    info = game.info
    kind = int(info["obstacle"])
    if kind < 0:
        what = "nothing in sight"
    elif OBSTACLES[kind] == "bird":
        what = f"bird at height {150 - int(info['obstacle_y'])}"
    else:
        what = f"{int(info['obstacle_size'])} {OBSTACLES[kind]}"
    doing = "jumping" if info["jumping"] else "ducking" if info["ducking"] else "running"
    return {
        "seed": game.seed,
        "score": int(game.score),
        "obstacle": what,
        "speed": f"{int(info['speed'])}-{int(info['speed']) + 1}",
        "doing": doing,
        "light": "night" if info["night"] else "day",
        "after_night_began": int(game.score) % NIGHT_EVERY,
    }


def deaths(games: Iterable[Game]) -> list[dict[str, str | int]]:
    """All games of the Dino that ended in a crash, described."""
    return [describe(game) for game in games if not game.capped and "obstacle" in game.info]


def count(rows: list[dict[str, str | int]]) -> list[tuple[str, int]]:
    """How often each combination of obstacle, speed and doing occurred, most frequent first."""
    return Counter(f"{row['obstacle']}, {row['doing']}, speed {row['speed']}" for row in rows).most_common()
