"""Places for results: looked at before long work, touched only after it."""

import os
from pathlib import Path

from dino_rl.errors import DinoError


def check_writable(path: Path):
    """Refuse a file that could not be written at the end of long work. Nothing is created.

    Raises:
        DinoError: it is a directory, or lies where nothing can be written.
    """
    there = path.absolute()
    while not there.exists():
        there = there.parent
    if path.is_dir():
        raise DinoError(f"Cannot write {path}: it is a directory; name a file.")
    if there != path.absolute() and not there.is_dir():
        raise DinoError(f"Cannot write {path}: {there} is not a directory.")
    if not os.access(there, os.W_OK):
        raise DinoError(f"Cannot write {path}: {there} may not be written to.")


def write_text(path: Path, text: str):
    """Write a file, and the directories above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
