"""The command line as a module: `python -m dino_rl --help`."""

import sys

from dino_rl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
