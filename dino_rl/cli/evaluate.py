"""`evaluate`: measure a model."""

import argparse
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_rl.cli import options as shared
from dino_rl.errors import DinoError

if TYPE_CHECKING:
    import gymnasium

    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import Player
    from dino_rl.training.rollout import Episode, Evaluation, Policy

HELP = "measure a model"
DESCRIPTION = "Play greedily, without learning, and report the scores."
MAX_SCORE = 20_000  # of the Dino; a good player never ends a game


def add_arguments(parser: argparse.ArgumentParser):
    """The options of the command."""
    shared.add_model(parser)
    parser.add_argument("--env", metavar="ID", help="environment (default: the model's)")
    parser.add_argument(
        "--games", type=shared.count, default=50, metavar="N", help="games (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=shared.whole, default=0, metavar="S", help="seeds S, S+1, ... (default: %(default)s)"
    )
    parser.add_argument(
        "--num-envs",
        type=shared.count,
        default=25,
        metavar="N",
        help="games that are played at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--against-random", action="store_true", help="play the same seeds at random, too, and compare"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file, too")
    dino = parser.add_argument_group("the Dino's")
    dino.add_argument("--clock", choices=["lockstep", "live"], help="whose time runs (default: lockstep)")
    dino.add_argument("--url", choices=["chrome://dino"], help="play on the untouched page (live clock only)")
    dino.add_argument(
        "--constant-speed", action="store_true", default=None, help="no acceleration, so no birds"
    )
    dino.add_argument(
        "--max-score", type=shared.count, metavar="M", help=f"end a game at this score (default: {MAX_SCORE})"
    )
    dino.add_argument(
        "--save-replays", type=Path, metavar="DIR", help="save each game as a file that `replay` can check"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.backend import use_one_thread
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import load_player
    from dino_rl.runs.output import check_writable, write_json
    from dino_rl.spec import DRAWN_SEEDS_FROM
    from dino_rl.terminal import console, death_table, score_table
    from dino_rl.training.rollout import random_policy

    if options.json:
        check_writable(options.json)
    if options.save_replays:
        check_writable(options.save_replays / "game.json")
    if options.seed + options.games > DRAWN_SEEDS_FROM:
        raise DinoError(
            f"--seed {options.seed} is too large: training draws its seeds from {DRAWN_SEEDS_FROM} on."
        )
    names = ("clock", "url", "constant_speed", "max_score", "save_replays")
    given = PlayOptions(**{name: getattr(options, name) for name in names})
    if options.clock == "live":
        use_one_thread()
    player = load_player(options.model, options.trust)
    task, env_id = player.task, player.config.env.id
    if options.env and options.env != env_id:
        raise DinoError(f"{options.model} was trained for {env_id}, not for {options.env}.")
    play = task.complete(given, max_score=MAX_SCORE)
    player.check(task.spec)
    with ExitStack() as opened:
        envs = [
            opened.enter_context(closing(env))
            for env in task.make_evaluation_envs(min(options.num_envs, options.games), play)
        ]
        for env in envs:
            player.warm_up(env.num_envs)
        evaluation = _play(options, envs, player.act, "seed", player, play)
        live: dict[str, Any] = {}
        if play.clock == "live":
            steps = sum(episode.length for episode in evaluation.episodes)
            live["late_decisions"] = sum(episode.late for episode in evaluation.episodes) / steps
            live["delays"] = task.delays(envs[0])
        chance = None
        if options.against_random:
            policy = random_policy(task.spec.num_actions, options.seed)
            chance = _play(options, envs, policy, "random play, seed")
    result = {
        **evaluation.summary(),
        **live,
        "seed": options.seed,
        "model": str(options.model),
        "algorithm": player.config.algo,
        "env": env_id,
        **task.versions(),
        **task.report(evaluation.episodes, play),
    }
    if chance:
        result["random"] = chance.summary()
    details = f"{play.clock}, cap {play.max_score:,}" if play.max_score else env_id
    console.print(score_table(f"{options.model}, {details}", result, result.get("random")))
    ends = task.count_ends(result)
    if ends:
        console.print(death_table(ends))
    if options.save_replays:
        console.print(f"Games saved in {options.save_replays}")
    if options.json:
        write_json(options.json, result)
    return 0


def _play(
    options: argparse.Namespace,
    envs: "list[gymnasium.vector.VectorEnv]",
    policy: "Policy",
    what: str,
    player: "Player | None" = None,
    play: "PlayOptions | None" = None,
) -> "Evaluation":
    """One game for each seed; each is shown, and saved if asked for, as it ends."""
    from dino_rl.terminal import console, number, progress_bar
    from dino_rl.training.rollout import play_in_parallel

    with progress_bar() as bar:
        task = bar.add_task("playing", total=options.games)

        def on_episode(episode: "Episode"):
            bar.advance(task)
            cap = " (cap)" if episode.capped else ""
            console.print(f"{what} {episode.seed}: {number(episode.score)}{cap}")
            if player and play and options.save_replays:
                _save_game(options.save_replays, player, episode, play)

        seeds = range(options.seed, options.seed + options.games)
        return play_in_parallel(envs, policy, seeds, on_episode)


def _save_game(directory: Path, player: "Player", episode: "Episode", play: "PlayOptions"):
    """As soon as a game is over, so that an interrupted evaluation loses none."""
    import numpy as np

    from dino_rl.runs.recorded_game import RecordedGame

    task = player.task
    game = RecordedGame(
        seed=episode.seed,
        settings=task.game_settings(play),
        decision_interval_frames=task.config.decision_interval_frames,
        browser=task.versions()["browser"],
        score=int(episode.score),
        capped=episode.capped,
        actions=np.array(episode.actions),
    )
    game.save(directory / f"{int(episode.score):06d}-seed-{episode.seed}.json")
