"""`evaluate`: measure a model."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from dino_rl.backend import share_cores
from dino_rl.browser import Game as Page
from dino_rl.commands import dino_only
from dino_rl.engines import load_model
from dino_rl.envs.catalog import interface, make_evaluation_envs, make_single_env
from dino_rl.errors import DinoError
from dino_rl.evaluate import Evaluation, Game, play_side_by_side, random_policy
from dino_rl.results.deaths import count, deaths
from dino_rl.results.model import Trained
from dino_rl.results.output import check_writable, write_text
from dino_rl.results.replays import Replay
from dino_rl.settings import DINO_ID, DRAWN_SEEDS_FROM, GameSettings
from dino_rl.terminal import console, death_table, number, progress_bar, score_table

MAX_SCORE = 20_000  # of the Dino, which a good player never ends


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
    if options.clock == "live":
        share_cores()
    model = load_model(options.model, options.trust)
    if options.env and options.env != model.env.id:
        raise DinoError(f"{options.model} was trained for {model.env.id}, not for {options.env}.")
    dino_only.fill_in(
        options,
        model.env.id,
        clock="lockstep",
        url=None,
        constant_speed=False,
        max_score=MAX_SCORE,
        save_replays=None,
    )
    game = GameSettings(constant_speed=options.constant_speed)
    with ExitStack() as opened:
        envs = [opened.enter_context(closing(env)) for env in _make_envs(options, model, game)]
        made_for = interface(envs[0], model.env)
        model.check(made_for.observation_shape, len(made_for.actions))
        for env in envs:
            model.warm_up(env.num_envs)
        keep = partial(_keep, options, model, game, made_for.versions)
        evaluation = _play(options, envs, model.act, "seed", keep)
        live: dict[str, Any] = {}
        if options.clock == "live":
            steps = sum(game.length for game in evaluation.games)
            live["late_decisions"] = sum(game.late for game in evaluation.games) / steps
            live["delays"] = _delays(envs[0].envs[0].unwrapped.game)  # type: ignore[attr-defined]
        chance = None
        if options.against_random:
            chance = _play(
                options, envs, random_policy(len(made_for.actions), options.seed), "random play, seed"
            )
    result = {
        **evaluation.summary(),
        **live,
        "seed": options.seed,
        "model": str(options.model),
        "algorithm": model.algorithm,
        "env": model.env.id,
        **made_for.versions,
    }
    if chance:
        result["random"] = chance.summary()
    if model.env.id == DINO_ID:
        result |= {
            "deaths": deaths(evaluation.games),
            "clock": options.clock,
            "url": options.url,
            "constant_speed": options.constant_speed,
            "max_score": options.max_score,
            "decision_interval_frames": model.env.decision_interval_frames,
        }
        title = f"{options.model}, {options.clock}, cap {options.max_score:,}"
    else:
        title = f"{options.model}, {model.env.id}"
    console.print(score_table(title, result, result.get("random")))
    if result.get("deaths"):
        console.print(death_table(count(result["deaths"])))
    if options.save_replays:
        console.print(f"Games kept in {options.save_replays}")
    if options.json:
        write_text(options.json, json.dumps(result, indent=2) + "\n")
    return 0


def _make_envs(
    options: argparse.Namespace, model: Trained, game: GameSettings
) -> Iterator[gymnasium.vector.VectorEnv]:
    if options.clock != "live":
        lanes = min(options.num_envs, options.games)
        yield from make_evaluation_envs(model.env, lanes, options.max_score, (game, game))
        return
    if options.constant_speed:
        raise DinoError(
            "A live game keeps its own speed: leave out --constant-speed, or use --clock lockstep."
        )
    yield make_single_env(model.env, "live", options.url, options.max_score)


def _play(
    options: argparse.Namespace,
    envs: list[gymnasium.vector.VectorEnv],
    policy,
    what: str,
    keep: Callable[[Game], None] = lambda game: None,
) -> Evaluation:
    """One game for each seed, each shown and kept as it ends."""
    with progress_bar() as bar:
        task = bar.add_task("playing", total=options.games)

        def show(played: Game):
            bar.advance(task)
            cap = " (cap)" if played.capped else ""
            console.print(f"{what} {played.seed}: {number(played.score)}{cap}")
            keep(played)

        seeds = range(options.seed, options.seed + options.games)
        return play_side_by_side(envs, policy, seeds, on_game=show)


def _delays(page: Page) -> dict:
    """From picture to key, of the last thousands of keys: milliseconds, and the shares of those that came 0,
    1, 2... frames later."""
    delays = page.take_delays()
    if not delays["frames"]:
        return {"keys": 0}
    return {
        "keys": len(delays["frames"]),
        "median_ms": float(np.median(delays["milliseconds"])),
        "p99_ms": float(np.percentile(delays["milliseconds"], 99)),
        "frames": (np.bincount(delays["frames"]) / len(delays["frames"])).round(4).tolist(),
    }


def _keep(
    options: argparse.Namespace, model: Trained, game: GameSettings, versions: dict[str, str], played: Game
):
    """As soon as a game is over, so that a long evaluation that is broken off loses none."""
    if not options.save_replays:
        return
    replay = Replay(
        seed=played.seed,
        settings=game,
        decision_interval_frames=model.env.decision_interval_frames,
        browser=versions["browser"],
        score=int(played.score),
        capped=played.capped,
        actions=np.array(played.actions),
    )
    replay.save(options.save_replays / f"{int(played.score):06d}-seed-{played.seed}.json")
