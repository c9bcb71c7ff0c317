"""`evaluate`: measure a model."""

import argparse
import json
from pathlib import Path

import gymnasium

from dino_rl.envs.catalog import interface, make_evaluation_env, make_single_env
from dino_rl.errors import DinoError
from dino_rl.evaluate import Game, play_games
from dino_rl.results.model import Model
from dino_rl.settings import DRAWN_SEEDS_FROM, GameSettings
from dino_rl.terminal import console, number, progress_bar, score_table


def evaluate(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.json:
        check_writable(options.json)
    if options.url and options.clock != "live":
        raise DinoError(f"{options.url} keeps its own time: add --clock live.")
    if options.seed + options.games > DRAWN_SEEDS_FROM:
        raise DinoError(
            f"--seed {options.seed} is too large: training draws its seeds from {DRAWN_SEEDS_FROM} on."
        )
    model = Model(options.model)
    if options.env and options.env != model.env.id:
        raise DinoError(f"{options.model} was trained for {model.env.id}, not for {options.env}.")
    env: gymnasium.vector.VectorEnv
    if options.clock == "live":
        if options.constant_speed:
            raise DinoError(
                "A live game keeps its own speed: leave out --constant-speed, or use --clock lockstep."
            )
        env = make_single_env(model.env, "live", options.url, options.max_score)
    else:
        game = GameSettings(constant_speed=options.constant_speed)
        env = make_evaluation_env(model.env, min(options.num_envs, options.games), options.max_score, game)
    bar = progress_bar()
    task = bar.add_task("playing", total=options.games)

    def show(game: Game):
        bar.advance(task)
        cap = " (cap)" if game.capped else ""
        console.print(f"seed {game.seed}: {number(game.score)}{cap}")

    try:
        shape, _, num_actions = interface(env)
        model.check(shape, num_actions)
        with bar:
            seeds = range(options.seed, options.seed + options.games)
            evaluation = play_games(env, model.act, seeds, on_game=show)
        result = {
            **evaluation.summary(),
            "seed": options.seed,
            "clock": options.clock,
            "url": options.url,
            "constant_speed": options.constant_speed,
            "max_score": options.max_score,
            "model": str(options.model),
            "env": model.env.id,
            "browser": env.get_attr("browser_name")[0],
            "decision_interval_frames": model.env.decision_interval_frames,
        }
    finally:
        env.close()
    console.print(score_table(f"{options.model}, {options.clock}, cap {options.max_score:,}", result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def check_writable(path: Path):
    """Refuse a file that could not be written at the end of long work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise DinoError(f"Cannot write {path} ({error.strerror}).") from error
