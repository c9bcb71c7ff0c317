"""`evaluate`: measure a model."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_rl.cli import options as shared
from dino_rl.cli.show import show_playing
from dino_rl.errors import DinoError, EnvError

if TYPE_CHECKING:
    from dino_rl.browser.observation import Observation
    from dino_rl.envs.task import PlayOptions, Task
    from dino_rl.player import Player
    from dino_rl.training.faults import ReplaceableEnvs
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
        "--seed",
        type=shared.game_seed,
        default=0,
        metavar="S",
        help="seeds S, S+1, ... (default: %(default)s)",
    )
    parser.add_argument(
        "--num-envs",
        type=shared.environments,
        default=25,
        metavar="N",
        help="games that are played at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--against-random", action="store_true", help="play the same seeds at random, too, and compare"
    )
    shared.add_dashboard(parser)
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
    shared.add_in_page(dino)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from dino_rl.backend import use_one_thread
    from dino_rl.envs.task import PlayOptions
    from dino_rl.player import load_player
    from dino_rl.runs.output import check_writable
    from dino_rl.spec import DRAWN_SEEDS_FROM
    from dino_rl.terminal import Progress
    from dino_rl.training.faults import ReplaceableEnvs
    from dino_rl.training.rollout import random_policy

    if options.env or options.trust:
        shared.allow_local_modules()
    if options.json:
        check_writable(options.json)
    if options.save_replays:
        check_writable(options.save_replays / "game.json")
    if options.seed + options.games > DRAWN_SEEDS_FROM:
        raise DinoError(
            f"--seed {options.seed} is too large: training draws its seeds from {DRAWN_SEEDS_FROM} on."
        )
    names = ("clock", "url", "constant_speed", "max_score", "save_replays", "in_page")
    given = PlayOptions(**{name: getattr(options, name) for name in names})
    if options.clock == "live":
        use_one_thread()
    with Progress("loading the model"):
        player = load_player(options.model, options.trust)
    task, env_id = player.task, player.config.env.id
    if options.env and options.env != env_id:
        raise DinoError(f"{options.model} was trained for {env_id}, not for {options.env}.")
    play = task.complete(given, max_score=MAX_SCORE)
    player.check(task.spec)
    play = shared.choose_in_page(options, player, play, ("against_random", "dashboard"))
    if play.in_page:
        evaluation, timing = _play_in_page(options, player, play)
        late = timing.pop("late_decisions", 0.0)
        _report(options, player, play, evaluation, {"late_decisions": late, "timing": timing})
        return 0
    num_envs = 1 if play.clock == "live" else min(options.num_envs, options.games)
    facts = {"games": options.games, "first seed": options.seed, "clock": play.clock, "cap": play.max_score}
    with ExitStack() as opened:
        board = opened.enter_context(show_playing(options.dashboard, "evaluate", player, num_envs, facts))
        tally = None
        if board:
            from dino_rl.dashboard.watched import Tally, watch_all

            tally = Tally(board, options.games)

        def make_envs():
            envs = task.make_evaluation_envs(num_envs, play)
            return watch_all(envs, board) if board else envs

        with Progress("starting the games"):
            repeatable = task.repeatable and play.clock == "lockstep"
            games = opened.enter_context(ReplaceableEnvs(make_envs, shared.say_fault, repeatable=repeatable))
        for env in games.envs:
            player.warm_up(env.num_envs)
        seeds = range(options.seed, options.seed + options.games)

        def end(episode: "Episode"):
            if options.save_replays:
                _save_game(options.save_replays, player, episode, play)
            if tally:
                tally.add(episode)

        evaluation = play_games(games, player.act, seeds, "seed", play.max_score, end)
        live: dict[str, Any] = {}
        if play.clock == "live":
            steps = sum(episode.length for episode in evaluation.episodes)
            live["late_decisions"] = sum(episode.late for episode in evaluation.episodes) / steps
            live["delays"] = _delays(task, games)
        chance = None
        if options.against_random:
            policy = random_policy(task.spec.num_actions, options.seed)
            chance = play_games(games, policy, seeds, "random play, seed", play.max_score)
    _report(options, player, play, evaluation, live, chance)
    return 0


def _report(
    options: argparse.Namespace,
    player: "Player",
    play: "PlayOptions",
    evaluation: "Evaluation",
    live: dict[str, Any],
    chance: "Evaluation | None" = None,
):
    """Print the result, and write it where it is asked for."""
    from dino_rl.runs.output import write_json
    from dino_rl.terminal import console, death_table, note, score_table

    task, env_id = player.task, player.config.env.id
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
    clock = f"{play.clock} in the page" if play.in_page else play.clock
    details = f"{clock}, cap {play.max_score:,}" if play.max_score else env_id
    console.print(score_table(f"{options.model}, {details}", result, result.get("random")))
    ends = task.count_ends(result)
    if ends:
        console.print(death_table(ends))
    if options.save_replays:
        note(f"Games saved in {options.save_replays}")
    if options.json:
        write_json(options.json, result)


def _play_in_page(
    options: argparse.Namespace, player: "Player", play: "PlayOptions"
) -> "tuple[Evaluation, dict[str, Any]]":
    """Games of the exported file, one after the other, and the times of its decisions in all of them."""
    from dino_rl.export.in_page import InPagePlayer
    from dino_rl.terminal import Progress, note, number
    from dino_rl.training.rollout import Evaluation

    evaluation = Evaluation()
    with Progress("playing") as progress, InPagePlayer(player, play, on_fault=shared.say_fault) as page:
        for seed in range(options.seed, options.seed + options.games):

            def on_look(seen: "Observation", done: int = len(evaluation.episodes)):
                share = min(1.0, int(seen.scores[0]) / (play.max_score or MAX_SCORE))
                progress.update((done + share) / options.games)

            episode = page.play(seed, play.max_score, on_look)
            evaluation.episodes.append(episode)
            note(f"game {seed}: {number(episode.score)}{' (cap)' if episode.capped else ''}")
        return evaluation, page.timing()


def _delays(task: "Task", games: "ReplaceableEnvs") -> dict[str, Any]:
    """Of the keys since the browser was started; of none if it died after the last game."""
    try:
        return task.delays(games.envs[0])
    except EnvError:
        return {"keys": 0}


def play_games(
    games: "ReplaceableEnvs",
    policy: "Policy",
    seeds: range,
    what: str,
    cap: int | None = None,
    on_game: "Callable[[Episode], None]" = lambda episode: None,
) -> "Evaluation":
    """One game for each seed. Each is printed as it ends.

    Args:
        games: where they are played.
        policy, seeds: as for `play_in_parallel`.
        what: who plays, before the seed in each line.
        cap: the score at which games end, if they do.
        on_game: called with each game as it ends.
    """
    from dino_rl.terminal import Progress, note, number

    shares: dict[int, float] = {}  # of each game that has been played, by seed

    with Progress("playing") as progress:

        def on_step(scores: dict[int, float]):
            if cap:
                shares.update((seed, min(1.0, score / cap)) for seed, score in scores.items())
            progress.update(sum(list(shares.values())) / len(seeds))

        def on_episode(episode: "Episode"):
            shares[episode.seed] = 1.0
            note(f"{what} {episode.seed}: {number(episode.score)}{' (cap)' if episode.capped else ''}")
            on_game(episode)

        return games.play(policy, seeds, on_episode, on_step)


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
