"""A trained model, ready to play: its network, built from its card, and the task that it was trained for."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.agents import networks
from dino_rl.agents.cem import policy_network
from dino_rl.agents.exploration import epsilon_greedy
from dino_rl.agents.networks import build_q_network, outputs_of
from dino_rl.envs.registry import make_task
from dino_rl.errors import DinoError, ModelError
from dino_rl.runs.model_file import card_path, check_file, load_card, load_weights
from dino_rl.runs.overlay import PROBABILITIES, Q_VALUES
from dino_rl.runs.run_directory import model_of
from dino_rl.spec import TaskSpec
from dino_rl.train_config import TrainConfig, from_saved

log = logging.getLogger(__name__)


class Player(ABC):
    """A trained agent that plays greedily, as its card describes it.

    Args:
        path: of the model; its card is beside it.

    Raises:
        ModelError: there is no card, or it is not a card of this project.

    Attributes:
        path: of the model.
        card: what is known of it.
        config: that it was trained with.
        task: that it was trained for.
    """

    def __init__(self, path: Path):
        self.path = path
        self.card: dict[str, Any] = load_card(path)
        try:
            self.config: TrainConfig = from_saved(self.card["settings"])
            self._shape = tuple(int(side) for side in self.card["observation_shape"])
            self._num_actions = int(self.card["num_actions"])
            self._dtype = np.dtype(self.card.get("observation_dtype", "uint8"))
            if min(self._shape, default=1) < 1 or self._num_actions < 1 or self._dtype.kind not in "uif":
                raise ValueError(f"{self._dtype} observations {self._shape}, {self._num_actions} actions")
        except (DinoError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._foreign_card(error) from error
        self.task = make_task(self.config.env)
        section = self.config.dqn or self.config.pqn
        self._epsilon = section.exploration.epsilon_evaluation if section else 0.0
        self._rng = np.random.default_rng(0)

    def _foreign_card(self, error: Exception) -> ModelError:
        return ModelError(f"{card_path(self.path)} is not a model card of this project ({error}).")

    def check(self, spec: TaskSpec):
        """Refuse a task that the network was not made for.

        Raises:
            ModelError: it takes other observations, or chooses among other actions.
        """
        if self._shape != spec.observation.shape or self._num_actions != spec.num_actions:
            raise ModelError(
                f"{self.path} takes observations {self._shape} and chooses among {self._num_actions} "
                f"actions; the environment has {spec.observation.shape} and {spec.num_actions}: use the "
                "model's own environment."
            )

    @property
    def values_are(self) -> str:
        """What `values` returns: Q-values or probabilities."""
        return Q_VALUES if self.config.algo in ("dqn", "pqn") else PROBABILITIES

    @abstractmethod
    def values(self, observations: np.ndarray) -> np.ndarray:
        """Q-values, or probabilities of the actions: [B, ...] -> float32 [B, A]."""

    def act_with_values(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions int64 [B], and the values that they were chosen by, float32 [B, A].

        The best actions, but for the few random ones that some games need to leave dead ends.
        """
        values = self.values(observations)
        return epsilon_greedy(values, self._epsilon, self._rng), values

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions int64 [B]."""
        return self.act_with_values(observations)[0]

    def warm_up(self, num_envs: int):
        """Compile now what a live game could not wait for."""
        self.values(np.zeros((num_envs, *self._shape), self._dtype))


class KerasPlayer(Player):
    """A Keras network.

    The network is built anew from the card, and only numbers are read from the .h5 file: a file from a
    stranger runs no code here, and one written by a newer Keras still loads.

    Args:
        path: an .h5 file with its card beside it.

    Raises:
        ModelError: the file is missing, damaged, unsafe, or not what its card says.
    """

    def __init__(self, path: Path):
        check_file(path)
        super().__init__(path)
        weights = count_weights(self.config, self._shape, self._num_actions)
        if 4 * weights > path.stat().st_size:
            raise ModelError(
                f"{path} is damaged, or does not match its card, which describes {weights:,} weights."
            )
        try:
            self.network = build_network(self.config, self._shape, self._num_actions)
        except (TypeError, ValueError, DinoError) as error:
            raise self._foreign_card(error) from error
        load_weights(self.network, path)
        self._outputs: Callable[[np.ndarray], np.ndarray] = outputs_of(self.network)
        log.debug("loaded %s: %s parameters", path, f"{self.network.count_params():,}")

    def values(self, observations: np.ndarray) -> np.ndarray:
        return self._outputs(observations)


def count_weights(config: TrainConfig, observation_shape: tuple[int, ...], num_actions: int) -> int:
    """Weights of the network that `build_network` makes, without making it."""
    if section := config.dqn or config.pqn:
        return networks.count_weights(section.network, observation_shape, num_actions)
    if config.cem:
        layers = (math.prod(observation_shape), *config.cem.hidden_units, num_actions)
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(layers))
    return 0


def build_network(config: TrainConfig, observation_shape: tuple[int, ...], num_actions: int) -> Any:
    """The untrained network of a run's algorithm, a keras.Model: observations [B, ...] -> float32 [B, A].

    Raises:
        DinoError: the algorithm has none here, or does not learn from such observations.
    """
    if section := config.dqn or config.pqn:
        return build_q_network(section.network, observation_shape, num_actions)
    if config.cem:
        return policy_network(config.cem, observation_shape, num_actions)
    raise DinoError(f"A model of --engine {config.engine} is no .h5 file.")


def load_player(path: str | Path, trust: bool = False) -> Player:
    """A model by its path.

    Args:
        path: an .h5 file, a run's directory for its best model, or a folder that export-hub wrote.
        trust: load RLlib's pickles even if they were not written on this account.

    Raises:
        ModelError: the model is missing, damaged, unsafe, or not what its card says.
        RunError: a directory that is no run, or has no model yet.
    """
    found = model_of(Path(path))
    if found.is_dir():
        from dino_rl.scale import require_ray

        require_ray()
        from dino_rl.scale.rllib_player import RLlibPlayer

        return RLlibPlayer(found, trust)
    return KerasPlayer(found)
