"""Gymnasium environments other than the Dino."""
