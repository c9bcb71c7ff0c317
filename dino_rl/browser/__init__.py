"""The browser and the game in it. The only package that imports selenium.

It is loaded at the first use of one of these classes: `game_settings` and `observation` load without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dino_rl.browser.arena import Arena, Arenas
    from dino_rl.browser.chrome import Browser
    from dino_rl.browser.game import Game

__all__ = ["Arena", "Arenas", "Browser", "Game"]
_MODULES = {"Arena": "arena", "Arenas": "arena", "Browser": "chrome", "Game": "game"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
