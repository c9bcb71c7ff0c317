"""`evaluate`: measure a model."""

import argparse
import json

import gymnasium
import numpy as np

from dino_rl.envs.catalog import interface, make_evaluation_env, make_single_env
from dino_rl.errors import DinoError
from dino_rl.evaluate import Game, play_games
from dino_rl.results.deaths import count, deaths
from dino_rl.results.model import Model
from dino_rl.results.output import check_writable, write_text
from dino_rl.results.replays import Replay
from dino_rl.settings import DRAWN_SEEDS_FROM, GameSettings
from dino_rl.terminal import console, death_table, number, progress_bar, score_table


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
    if options.save_replays:
        if options.clock == "live":
            raise DinoError(
                "A live game cannot be replayed: leave out --save-replays, or use --clock lockstep."
            )
        check_writable(options.save_replays / "game.json")
    model = Model(options.model)
    game = GameSettings(constant_speed=options.constant_speed)
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
        env = make_evaluation_env(model.env, min(options.num_envs, options.games), options.max_score, game)
    bar = progress_bar()
    task = bar.add_task("playing", total=options.games)

    def show(played: Game):
        bar.advance(task)
        cap = " (cap)" if played.capped else ""
        console.print(f"seed {played.seed}: {number(played.score)}{cap}")

    try:
        facts = interface(env, model.env)
        model.check(facts.observation_shape, len(facts.actions))
        model.warm_up(env.num_envs)
        with bar:
            seeds = range(options.seed, options.seed + options.games)
            evaluation = play_games(env, model.act, seeds, on_game=show)
        crashes = deaths(evaluation.games)
        result = {
            **evaluation.summary(),
            "deaths": crashes,
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
    if crashes:
        console.print(death_table(count(crashes)))
    if options.save_replays:
        for played in evaluation.games:
            replay = Replay(
                seed=played.seed,
                settings=game,
                decision_interval_frames=model.env.decision_interval_frames,
                browser=result["browser"],
                score=int(played.score),
                capped=played.capped,
                actions=np.array(played.actions),
            )
            replay.save(options.save_replays / f"{int(played.score):06d}-seed-{played.seed}.json")
        console.print(f"Games kept in {options.save_replays}")
    if options.json:
        write_text(options.json, json.dumps(result, indent=2) + "\n")
    return 0
