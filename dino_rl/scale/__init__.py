"""Past one machine, by Ray: the only place that imports it. Without Ray, one line says so."""

import logging
import os

from dino_rl.errors import DinoError

# RLlib would ask of every number whether it is TensorFlow's, which took it a sixth of its time.
os.environ.setdefault("RLLIB_TEST_NO_TF_IMPORT", "1")
logging.getLogger("ray.rllib.utils.framework").setLevel(logging.ERROR)  # which says so, again and again
try:
    import ray  # noqa: F401
except ModuleNotFoundError as error:
    raise DinoError(
        "Ray is not installed: run make setup-ray, or pip install -r requirements-ray.txt."
    ) from error
