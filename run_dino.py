"""Train, play, evaluate: `python run_dino.py --help`."""

import sys

from dino_rl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
