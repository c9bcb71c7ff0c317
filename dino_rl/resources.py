"""Files that are not Python: the game's scripts and the shipped model.

In a checkout they are at the top of the repository. A wheel has them inside the package (pyproject.toml).
"""

from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = (_PACKAGE.parent / "run_dino.py").is_file()
ROOT = _PACKAGE.parent if IS_CHECKOUT else _PACKAGE

GAME_DIR = ROOT / "game"


def shipped_model() -> Path:
    """The model that comes with this project, relative to the current directory if it is below it."""
    path = ROOT / "models" / "best.h5"
    with suppress(OSError, ValueError):  # the current directory was deleted; the file is elsewhere
        return path.relative_to(Path.cwd())
    return path
