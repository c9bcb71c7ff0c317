"""The command line with one more preset, `tiny`: all parts of a training run, in seconds.

    python tests/tiny_run.py train --preset tiny --run-dir DIR

Tests that need a process of its own run this file; the others take `TINY` from here.
"""

import sys
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
            max_delay_frames=2,
        ),
    ),
    dqn=DQNSettings(batch_size=4, replay_ratio=0.5, replay_capacity=600, learning_starts=90),
    steps=600,
    minutes=None,
    validations=1,
    validation_games=2,
    validation_max_score=60,
)
PRESETS["tiny"] = TINY

if __name__ == "__main__":
    sys.exit(main())
