"""Measurements of speed: nothing else in the package imports this."""
