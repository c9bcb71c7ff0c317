"""The command line with two more presets: `tiny`, all parts of a training run in seconds, and `tiny-idle`,
which plays and never learns (learning compiles for some seconds first).

    python tests/tiny_run.py train --preset tiny --run-dir DIR

Tests that need a process of its own run this file; the others take the settings from here.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dino_rl.cli import main
from dino_rl.settings import PRESETS, DQNSettings, EnvSettings, GameSettings, GameVariation, RunSettings

TINY = RunSettings(
    env=EnvSettings(
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
    dqn=DQNSettings(batch_size=4, replay_ratio=0.5, replay_capacity=600, learning_starts=90),
    steps=600,
    minutes=None,
    validations=1,
    validation_games=2,
    validation_max_score=60,
)
TINY_IDLE = replace(TINY, dqn=replace(TINY.dqn, learning_starts=10**9))
PRESETS |= {"tiny": TINY, "tiny-idle": TINY_IDLE}

if __name__ == "__main__":
    sys.exit(main())
