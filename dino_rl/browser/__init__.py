"""The browser and the game in it. The only package that imports selenium."""

from dino_rl.browser.arena import Arena, Arenas
from dino_rl.browser.chrome import Browser
from dino_rl.browser.game import Game

__all__ = ["Arena", "Arenas", "Browser", "Game"]
