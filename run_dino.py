"""Train, play, evaluate: `python run_dino.py --help`."""

import sys

from dino_rl.cli import main

if __name__ == "__main__":
    sys.exit(main())
