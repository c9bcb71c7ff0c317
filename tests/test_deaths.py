"""How games of the Dino end, in words."""

from dataclasses import replace

from dino_rl.envs.dino.deaths import count, deaths, describe
from dino_rl.training.rollout import Episode

GAME = Episode(
    seed=4,
    score=1415.0,
    episode_return=1.0,
    length=3,
    capped=False,
    info={
        "obstacle": 2.0,
        "obstacle_size": 1.0,
        "obstacle_y": 75.0,
        "speed": 9.7,
        "jumping": 1.0,
        "ducking": 0.0,
        "night": 1.0,
    },
    actions=[0, 1, 2],
)


def test_a_death_in_words():
    assert describe(GAME) == {
        "seed": 4,
        "score": 1415,
        "obstacle": "bird at height 75",
        "speed": "9-10",
        "doing": "jumping",
        "light": "night",
        "after_night_began": 15,
    }
    cacti = replace(
        GAME, info={**GAME.info, "obstacle": 1.0, "obstacle_size": 3.0, "jumping": 0.0, "night": 0.0}
    )
    assert describe(cacti)["obstacle"] == "3 large cactus"
    assert describe(cacti)["doing"] == "running"
    assert describe(cacti)["light"] == "day"
    rows = deaths([GAME, cacti, GAME, replace(GAME, capped=True)])
    assert count(rows) == [
        ("bird at height 75, jumping, speed 9-10", 2),
        ("3 large cactus, running, speed 9-10", 1),
    ]
