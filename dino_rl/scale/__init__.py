"""Training past one process and one machine, on Ray: the only package that imports ray."""

import importlib.util
import logging
import os

from dino_rl.errors import DinoError
from dino_rl.program import how_to_add_ray


def require_ray() -> None:
    """Prepare for the other modules of this package, which import Ray.

    Raises:
        DinoError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise DinoError(f"Ray is not installed: {how_to_add_ray()}.")
    # RLlib checks of every number whether it is a TensorFlow tensor, which took a sixth of its time.
    os.environ.setdefault("RLLIB_TEST_NO_TF_IMPORT", "1")
    logging.getLogger("ray.rllib.utils.framework").setLevel(logging.ERROR)  # it warns about that repeatedly
