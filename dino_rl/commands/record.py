"""`record`: film a model, and random play before it."""

import argparse
from pathlib import Path

from dino_rl.commands import dino_only
from dino_rl.envs.catalog import interface, make_single_env
from dino_rl.errors import DinoError
from dino_rl.evaluate import random_policy
from dino_rl.record import Thinking, record_games
from dino_rl.results.model import Model
from dino_rl.results.overlay import Player
from dino_rl.results.runs import videos_of
from dino_rl.results.video import check_film
from dino_rl.terminal import console, number

MAX_SCORE = 1_000  # 80 seconds of the Dino


def record(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out and options.before_after:
        raise DinoError("--before-after makes two films, before.mp4 and after.mp4: leave out --out.")
    model = Model(options.model)
    dino_only.fill_in(options, model.env.id, max_score=MAX_SCORE)
    after = options.out or videos_of(model.path) / "after.mp4"
    check_film(after)
    env = make_single_env(model.env, max_score=options.max_score, render_mode="rgb_array_list")
    try:
        made_for = interface(env, model.env)
        num_actions = len(made_for.actions)
        model.check(made_for.observation_shape, num_actions)

        def film(path: Path, title: str, think: Thinking):
            seeds = range(options.seed, options.seed + options.games)
            player = Player(title, made_for.actions, model.values_are) if options.overlay else None
            played = record_games(env, think, seeds, path, player)
            console.print(f"{title}: {', '.join(map(number, played.scores))}; filmed: {path}")

        if options.before_after:
            chance = random_policy(num_actions, options.seed)
            film(after.with_name("before.mp4"), "random play", lambda seen: (chance(seen), None))
        film(after, "the trained player", model.think)
    finally:
        env.close()
    return 0
