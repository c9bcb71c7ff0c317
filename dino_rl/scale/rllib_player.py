"""A model that RLlib trained, ready to play."""

import pickle
from pathlib import Path

import numpy as np
from ray.rllib.core.rl_module.rl_module import RLModule

from dino_rl.errors import ModelError
from dino_rl.player import Player
from dino_rl.scale.rllib import module_values
from dino_rl.scale.trust import check_signature


class RLlibPlayer(Player):
    """An RLModule of RLlib.

    Args:
        path: the directory "best" of a run, with its card beside it.
        trust: load it even if it was not written on this account.

    Raises:
        ModelError: it is missing, damaged, of unknown origin, or not what its card says.
    """

    def __init__(self, path: Path, trust: bool = False):
        super().__init__(path)
        check_signature(path, trust)
        try:
            self._module = RLModule.from_checkpoint(path)
        except (OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(f"{path} is damaged, or not a checkpoint of RLlib ({error!r}).") from error

    def values(self, observations: np.ndarray) -> np.ndarray:
        return module_values(self._module, observations)
