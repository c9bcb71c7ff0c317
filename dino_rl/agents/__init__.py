"""Agents: numbers in, actions out. They know no game, no browser and no file."""
