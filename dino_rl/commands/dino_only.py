"""Options of several commands that only the Dino game knows."""

import argparse
from typing import Any

from dino_rl.errors import DinoError
from dino_rl.settings import DINO_ID


def fill_in(options: argparse.Namespace, env_id: str, **defaults: Any):
    """Give the Dino's options their defaults; refuse them for other environments.

    Raises:
        DinoError: one was given for another environment.
    """
    for name, default in defaults.items():
        given = getattr(options, name)
        if env_id != DINO_ID and given not in (None, False):
            raise DinoError(f"--{name.replace('_', '-')} is for {DINO_ID}: leave it out for {env_id}.")
        if env_id == DINO_ID and given is None:
            setattr(options, name, default)
