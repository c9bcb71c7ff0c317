"""What a report says of a run, read from its directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from dino_rl.config import to_yaml
from dino_rl.envs.dino.deaths import deaths
from dino_rl.errors import DinoError, RunError
from dino_rl.player import KerasPlayer
from dino_rl.runs.clip import Clip
from dino_rl.runs.input import open_file
from dino_rl.runs.model_file import load_card
from dino_rl.runs.run_directory import BEST_GAME, BEST_MODEL, BEST_OF_RLLIB, RunDirectory
from dino_rl.saliency import saliency
from dino_rl.train_config import from_saved
from dino_rl.training.tracking import flat

MAX_VIDEO_BYTES = 6 * 2**20  # of a video in the page
MOMENTS = 4  # whose saliency is shown
PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Moment:
    """What the network saw, looked at and computed at one moment."""

    frame: np.ndarray
    """uint8 [H, W], the newest."""
    saliency: np.ndarray
    """float32 [H, W]."""
    values: np.ndarray
    """float32 [A]."""


class RunFacts:
    """A run, as far as its files tell.

    Raises:
        RunError: it is no run, or a file of it is damaged. (So do the properties.)
    """

    def __init__(self, run: RunDirectory):
        self.run = run

    @cached_property
    def games(self) -> list[dict[str, float]]:
        """All games of validations; none in runs of older versions."""
        table = self.run.table("validation_games")
        if not table:
            return []
        columns = {
            name: table[name].tolist() for name in dict.fromkeys(("minutes", "score", "capped", *table))
        }
        games = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [game for game in games if np.isfinite([game["minutes"], game["score"]]).all()]

    @cached_property
    def best_games(self) -> list[dict[str, float]]:
        """Games of the best validation."""
        table = self.run.table("validations")
        if not table or not self.games or not np.isfinite(table["mean"]).any():
            return []
        step = table["step"][np.nanargmax(table["mean"])]
        return [game for game in self.games if game.get("step") == step]

    @cached_property
    def deaths(self) -> list[dict[str, Any]]:
        """The crashes of all validation games, where the environment tells what they were."""
        ended = [
            SimpleNamespace(seed=0, score=game["score"], capped=bool(game["capped"]), info=game)
            for game in self.games
            if np.isfinite(list(game.values())).all()
        ]
        try:
            return deaths(ended)
        except (LookupError, ValueError, OverflowError) as error:
            raise RunError(f"{self.run.path / 'validation_games.csv'} is damaged ({error!r}).") from error

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """Of the best model; {} if there is none yet."""
        for name in (BEST_MODEL, BEST_OF_RLLIB):
            if (self.run.path / name).exists():
                return load_card(self.run.path / name)
        return {}

    def of_card(self, section: str, name: str) -> Any:
        """A plain value in a section of the card, None if there is none."""
        part = self.card.get(section)
        value = part.get(name) if isinstance(part, Mapping) else None
        return value if isinstance(value, PLAIN) else None

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of what the results depend on."""
        versions = self.run.about.get("versions")
        if not isinstance(versions, Mapping):
            return {}
        return {str(name): str(text) for name, text in versions.items()}

    @cached_property
    def configuration(self) -> str:
        """As YAML, or as it is saved if this version cannot read it."""
        settings = self.run.about["settings"]
        try:
            return to_yaml(from_saved(settings), comments=False)
        except (DinoError, KeyError, TypeError, ValueError):
            return "\n".join(f"{name}: {text}" for name, text in self.settings.items())

    @cached_property
    def settings(self) -> dict[str, str]:
        """The configuration, flat: {"dqn.learning_rate": "0.0003"}."""
        return {name: str(value) for name, value in flat(self.run.about["settings"]).items()}

    @cached_property
    def clip(self) -> Clip | None:
        """The end of the best game of the best validation."""
        return Clip.load(self.run.path / BEST_GAME)

    @cached_property
    def video(self) -> bytes | None:
        """The newest video in the run's directory, if it is small enough for the page."""
        for path in self.run.videos[:1]:
            try:
                with open_file(path) as file:
                    content = file.read(MAX_VIDEO_BYTES + 1)
            except OSError:
                return None
            # It may be a stranger's, and a link to any file of the reader's.
            if len(content) <= MAX_VIDEO_BYTES and content[4:8] == b"ftyp":
                return content
        return None

    def moments(self) -> list[Moment]:
        """Some moments of the clip, those in which the choice of an action matters most, in their order."""
        model = self.run.path / BEST_MODEL
        if self.clip is None or not model.exists():
            return []
        player = KerasPlayer(model)
        observations = self.clip.observations
        if observations.shape[1:] != tuple(player.card["observation_shape"]):
            raise RunError(f"{self.run.path / BEST_GAME} is damaged: its frames are not those of {model}.")
        values = player.values(observations)
        chosen = np.sort(np.argsort(-np.ptp(values, axis=1))[:MOMENTS])
        maps = saliency(player.values, observations[chosen])
        return [
            Moment(observations[i, ..., -1], map_, values[i]) for i, map_ in zip(chosen, maps, strict=True)
        ]
