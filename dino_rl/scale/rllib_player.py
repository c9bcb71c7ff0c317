"""A model that RLlib trained, ready to play."""

import pickle
from pathlib import Path

import gymnasium
import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from dino_rl.errors import ModelError
from dino_rl.player import Player
from dino_rl.runs.weights_file import WEIGHTS, load_arrays
from dino_rl.scale.rllib import module_spec, module_values, module_weights
from dino_rl.scale.trust import check_signature


class RLlibPlayer(Player):
    """An RLModule of RLlib. It is built from its card, and its weights are plain numbers: a model of a
    stranger runs no code. A model of version 0.1.0 is a pickle, which needs trust.

    Args:
        path: the directory "best" of a run, with its card beside it.
        trust: load pickles even if they were not written on this account.

    Raises:
        ModelError: it is missing, damaged, of unknown origin, or not what its card says.
    """

    def __init__(self, path: Path, trust: bool = False):
        super().__init__(path)
        self._module = self._build() if (path / WEIGHTS).exists() else _unpickle(path, trust)

    def _build(self) -> RLModule:
        if self.config.engine != "rllib":
            raise self._foreign_card(ValueError(f"the engine is {self.config.engine}"))
        spec = module_spec(self.config, is_image=len(self._shape) == 3)
        spec.observation_space = gymnasium.spaces.Box(0, 1, self._shape, self._dtype)
        spec.action_space = gymnasium.spaces.Discrete(self._num_actions)
        spec.inference_only = True
        try:
            module = spec.build()
        except (ValueError, TypeError, RuntimeError) as error:
            raise self._foreign_card(error) from error
        weights = load_arrays(self.path / WEIGHTS, module_weights(module))
        module.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})
        return module

    def values(self, observations: np.ndarray) -> np.ndarray:
        return module_values(self._module, observations)


def _unpickle(path: Path, trust: bool) -> RLModule:
    check_signature(path, trust)
    try:
        return RLModule.from_checkpoint(path)
    except (OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is damaged, or not a checkpoint of RLlib ({error!r}).") from error
