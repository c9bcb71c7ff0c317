"""Past one machine, by Ray: the only place that imports it. Without Ray, one line says so."""

from dino_rl.errors import DinoError

try:
    import ray  # noqa: F401
except ModuleNotFoundError as error:
    raise DinoError(
        "Ray is not installed: run make setup-ray, or pip install -r requirements-ray.txt."
    ) from error
