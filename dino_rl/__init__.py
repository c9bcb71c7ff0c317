"""dino-rl: an agent that learns the real Chrome Dino game from pixels."""

__version__ = "0.2.0"
