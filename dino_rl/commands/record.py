"""`record`: film a model, and random play before it."""

import argparse
from pathlib import Path

from dino_rl.envs.catalog import interface, make_single_env
from dino_rl.envs.dino import ACTIONS
from dino_rl.errors import DinoError
from dino_rl.record import Player, random_player, record_games
from dino_rl.results.model import Model
from dino_rl.results.runs import videos_of
from dino_rl.terminal import console, number


def record(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out and options.before_after:
        raise DinoError("--before-after makes two films, before.mp4 and after.mp4: leave out --out.")
    model = Model(options.model)
    directory = videos_of(model.path)
    env = make_single_env(model.env, "lockstep", max_score=options.max_score, render_mode="rgb_array_list")
    try:
        shape, _, num_actions = interface(env)
        model.check(shape, num_actions)

        def film(path: Path, title: str, player: Player):
            played = record_games(
                env,
                player,
                range(options.seed, options.seed + options.games),
                path,
                overlay=options.overlay,
                title=title,
                names=ACTIONS[:num_actions],
            )
            scores = ", ".join(number(score) for score in played.scores)
            console.print(f"{title}: {scores}; filmed: {path}")

        if options.before_after:
            film(directory / "before.mp4", "random play", random_player(num_actions, options.seed))
        film(
            options.out or directory / "after.mp4",
            "the trained player",
            lambda observations: (model.act(observations), model.q_values(observations)),
        )
    finally:
        env.close()
    return 0
