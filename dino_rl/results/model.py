"""Models that are played with: an .h5 file of weights and layers, and a card (JSON) beside it."""

import json
import logging
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dino_rl import __version__
from dino_rl.agents.algorithms import make_network, play_epsilon
from dino_rl.agents.learner import epsilon_greedy
from dino_rl.agents.networks import outputs_of
from dino_rl.backend import keras, tf
from dino_rl.envs.catalog import Interface, used_settings
from dino_rl.errors import DinoError, ModelError
from dino_rl.results.overlay import PROBABILITIES, Q_VALUES
from dino_rl.results.runs import model_of
from dino_rl.settings import RunSettings, from_dict

# Keras calls .h5 "legacy" each time one is saved; it is what the players of this project expect.
logging.getLogger("absl").setLevel(logging.ERROR)

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def versions(environment: dict[str, str]) -> dict[str, str]:
    """What a result was made with, beside what its environment consists of."""
    packages = {name: version(name) for name in ("keras", "numpy", "gymnasium", "selenium")}
    return {
        "dino_rl": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        **packages,
        **environment,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def card_path(model_path: Path) -> Path:
    """models/best.h5 -> models/best.json"""
    return model_path.with_suffix(".json")


def save_model(path: Path, network: keras.Model, card: dict[str, Any]):
    """Write a network for inference, and its card. Whole files only: a stop never leaves half of one."""
    part = path.with_name("part-" + path.name)
    network.save(part, include_optimizer=False)
    part.replace(path)
    save_card(path, card)


def save_card(path: Path, card: dict[str, Any]):
    """Write the card of the model at `path`."""
    part = card_path(path.with_name("part-" + path.name))
    part.write_text(json.dumps(card, indent=2) + "\n")
    part.replace(card_path(path))


def model_card(settings: RunSettings, made_for: Interface, **facts: Any) -> dict[str, Any]:
    """What a model says about itself."""
    return {
        "algorithm": settings.algorithm,
        "observation_shape": made_for.observation_shape,
        "observation_dtype": str(made_for.dtype),
        "num_actions": len(made_for.actions),
        "actions": made_for.actions,
        "env": used_settings(settings.env),
        "picture": made_for.picture,
        "versions": versions(made_for.versions),
        **facts,
        "settings": asdict(settings),
    }


class Trained:
    """What was trained, ready to play greedily, whatever kind of file it is: what its card says of it.

    Args:
        path: of the model; its card lies beside it.

    Raises:
        ModelError: no card, or one of something else.
    """

    def __init__(self, path: Path):
        self.path = path
        self.card = _load_card(path)
        try:
            self.settings = from_dict(RunSettings, self.card["settings"])
            self._shape = tuple(self.card["observation_shape"])
            self._num_actions = int(self.card["num_actions"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._foreign_card(error) from error
        self.algorithm = self.settings.algorithm
        self.env = self.settings.env
        self._epsilon = play_epsilon(self.settings)
        self._rng = np.random.default_rng(0)

    def _foreign_card(self, error: Exception) -> ModelError:
        return ModelError(f"{card_path(self.path)} is not a model card of this project ({error}).")

    def check(self, observation_shape: tuple[int, ...], num_actions: int):
        """Refuse an environment that the network was not made for.

        Raises:
            ModelError: it takes other observations, or chooses among other actions.
        """
        if self._shape != observation_shape or self._num_actions != num_actions:
            raise ModelError(
                f"{self.path} takes observations {self._shape} and chooses among {self._num_actions} "
                f"actions; the environment has {observation_shape} and {num_actions}: use the model's own "
                "environment."
            )

    def warm_up(self, num_envs: int):
        """Have done now what a live game cannot wait for: compiling."""
        dtype = np.uint8 if len(self._shape) == 3 else np.float32
        self.values(np.zeros((num_envs, *self._shape), dtype))

    def values(self, observations: np.ndarray) -> np.ndarray:
        """What is behind the actions: Q-values, or probabilities. [B, ...] -> float32 [B, A]."""
        raise NotImplementedError

    @property
    def values_are(self) -> str:
        """A word for what `values` gives."""
        return Q_VALUES if self.algorithm == "dqn" else PROBABILITIES

    def think(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions, int64 [B], and the values that they were chosen by, float32 [B, A]."""
        values = self.values(observations)
        return self.choose(values), values

    def choose(self, values: np.ndarray) -> np.ndarray:
        """Actions, int64 [B]: the best ones, but for the few at random that some games' dead ends need."""
        return epsilon_greedy(values, self._epsilon, self._rng)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions of the finished agent, int64 [B]."""
        return self.think(observations)[0]


class Model(Trained):
    """A Keras network.

    The network is built anew from the card, and only numbers are read from the .h5 file: a file from a
    stranger runs no code here, and one written by a newer Keras still loads.

    Args:
        path: an .h5 file with its card beside it, or a run's directory, for its best model.

    Raises:
        ModelError: missing, damaged, unsafe, or not what its card says.
        RunError: a directory that is no run, or has no model yet.
    """

    def __init__(self, path: str | Path):
        path = model_of(Path(path))
        _check_file(path)
        super().__init__(path)
        try:
            self.network = make_network(self.settings, self._shape, self._num_actions)
        except (TypeError, ValueError, DinoError) as error:
            raise self._foreign_card(error) from error
        _load_weights(self.network, self.path)
        self._values = outputs_of(self.network)

    def values(self, observations: np.ndarray) -> np.ndarray:
        return self._values(observations)


def _check_file(path: Path):
    if not path.exists():
        raise ModelError(f"No model at {path}: train one (python run_dino.py train), or name another.")
    try:
        with path.open("rb") as file:
            magic = file.read(len(HDF5_MAGIC))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    if magic != HDF5_MAGIC:
        raise ModelError(f"{path} is not a Keras .h5 model: it is empty, damaged, or something else.")


def _load_weights(network: keras.Model, path: Path):
    try:
        with h5py.File(path) as file:
            if '"Lambda"' in str(file.attrs.get("model_config", "")):
                raise ModelError(f"{path} holds a Lambda layer, which could run any code: refused.")
        network.load_weights(path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ModelError(f"{path} is damaged, or not the model of its card ({reason}).") from error


def _load_card(path: Path) -> dict[str, Any]:
    card = card_path(path)
    try:
        return json.loads(card.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} has no card: {card} must lie beside it.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{card} is not a model card ({str(error).splitlines()[0]}).") from error
