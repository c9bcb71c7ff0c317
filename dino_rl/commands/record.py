"""`record`: film a model, and random play before it."""

import argparse
from pathlib import Path

from dino_rl.commands import dino_only
from dino_rl.engines import load_model
from dino_rl.errors import DinoError
from dino_rl.evaluate import Evaluation
from dino_rl.record import record_model
from dino_rl.terminal import console, number


def record(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out and options.before_after:
        raise DinoError("--before-after makes two films, before.mp4 and after.mp4: leave out --out.")
    model = load_model(options.model, options.trust)
    dino_only.fill_in(options, model.env.id, max_score=None)
    seeds = range(options.seed, options.seed + options.games)
    record_model(
        model,
        options.out,
        seeds,
        options.before_after,
        options.overlay,
        options.seconds,
        options.max_score,
        _tell,
    )
    return 0


def _tell(title: str, path: Path, evaluation: Evaluation):
    """Say who played, how well, and where the film is."""
    console.print(f"{title}: {', '.join(map(number, evaluation.scores))}; filmed: {path}")
