"""What a reaction delay costs the agent: the handicaps of `race`, in lock-step games.

    python bench/reaction_delay.py --delays 0 1 2 3 4 6 --games 50

As in the race, each decision becomes a key so many frames after the picture that it was made from. The result
is a table in Markdown.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

import gymnasium

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs.dino.options import DinoOptions
from dino_rl.player import load_player
from dino_rl.resources import shipped_model
from dino_rl.training.rollout import play_episodes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--delays", type=int, nargs="+", default=[0, 1, 2, 3, 4, 6], metavar="FRAMES")
    parser.add_argument("--games", type=int, default=50)
    parser.add_argument("--max-score", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=9000, help="of the first game (default: %(default)s)")
    options = parser.parse_args()

    console = Console(highlight=False, soft_wrap=True)
    player = load_player(options.model)
    agent = {each: getattr(player.config.env, each) for each in DinoOptions.__dataclass_fields__}
    seeds = range(options.seed, options.seed + options.games)
    console.print(f"{options.games} games, seeds {seeds[0]} to {seeds[-1]}, cap {options.max_score:,}.\n")
    console.print("| delay in frames | mean | median | min | max | games that reach the cap |")
    console.print("|---|---|---|---|---|---|")
    for delay in options.delays:
        env = gymnasium.make_vec(
            "dino_rl:ChromeDino-v0",
            num_envs=options.games,
            game=GameSettings(action_delay=(0.0,) * delay + (1.0,)),
            max_score=options.max_score,
            autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED,
            **agent,
        )
        with closing(env):
            result = play_episodes(env, player.act, seeds).summary()
        figures = " | ".join(f"{result[name]:,.0f}" for name in ("mean", "median", "min", "max", "capped"))
        console.print(f"| {delay} | {figures} |")


if __name__ == "__main__":
    main()
