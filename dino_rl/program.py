"""How this program was started, for messages that print a command to run next."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from dino_rl.resources import IS_CHECKOUT

INSTALLED, SCRIPT, MODULE = "dino-rl", "python run_dino.py", "python -m dino_rl"
PACKAGES = {  # of modules with another name; a package with the module's name may be a stranger's
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "PIL": "pillow",
    "websocket": "websocket-client",
    "yaml": "pyyaml",
}


def program_name() -> str:
    """`python run_dino.py`, `dino-rl` or `python -m dino_rl`: what this process was started as.

    In a script or a notebook, the one that is there: `python run_dino.py` in a checkout, else `dino-rl`.
    """
    started = Path(sys.argv[0] if sys.argv else "")
    if started.name == "run_dino.py":
        return SCRIPT
    if started.stem == INSTALLED:  # dino-rl.exe on Windows
        return INSTALLED
    if started.parts[-2:] == ("dino_rl", "__main__.py"):
        return MODULE
    return SCRIPT if IS_CHECKOUT else INSTALLED


def command_line(*words: object) -> str:
    """A command of this program as a user types it, quoted where the shell needs it.

    `command_line("play", "--model", path)` gives `python run_dino.py play --model 'my runs/one'`.
    """
    quote = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return f"{program_name()} {quote([str(word) for word in words])}"


def how_to_install(module: str) -> str:
    """What to run where a package is missing that this program needs, by the name of its module."""
    if IS_CHECKOUT:
        return "run `make setup`, or activate its environment with `. .venv/bin/activate`"
    return f"run `{_pip_install(PACKAGES.get(module, module))}`"


def how_to_add_ray() -> str:
    """What to run for Ray, which is optional."""
    return f"run `{'make setup-ray' if IS_CHECKOUT else _pip_install('ray[rllib,tune]', 'torch')}`"


def _pip_install(*packages: str) -> str:
    return shlex.join([Path(sys.executable).name, "-m", "pip", "install", *packages])
