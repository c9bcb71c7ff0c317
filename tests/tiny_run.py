"""The command line with two more presets: `tiny`, all parts of a training run in seconds, and `tiny-idle`,
which plays and never learns (learning compiles for some seconds first).

    python tests/tiny_run.py train --preset tiny --run-dir DIR

Tests that need a process of their own run this file; the others take the configurations from here.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dino_rl.browser.game_settings import GameSettings
from dino_rl.cli.main import main
from dino_rl.envs.dino.variation import GameVariation
from dino_rl.presets import recipes

_DINO = recipes()["dino"]
TINY = replace(
    _DINO,
    env=replace(
        _DINO.env,
        num_envs=3,
        greedy_envs=1,
        variation=GameVariation(
            base=GameSettings(clear_time_ms=300.0, frame_jitter_ms=0.1),
            start_speed=(6.0, 13.0),
            random_start_share=0.5,
            dino_x=(0, 50),
            delay_concentrations=(0.3, 0.3, 0.3),
        ),
    ),
    dqn=replace(
        _DINO.dqn,
        batch_size=4,
        samples_per_insert=0.5,
        replay=replace(_DINO.dqn.replay, capacity=600),
        learning_starts=90,
    ),
    run=replace(
        _DINO.run, steps=600, minutes=None, validations=1, validation_games=2, validation_max_score=60
    ),
)
TINY_IDLE = replace(TINY, dqn=replace(TINY.dqn, learning_starts=10**9))
recipes().update({"tiny": TINY, "tiny-idle": TINY_IDLE})

if __name__ == "__main__":
    sys.exit(main())
