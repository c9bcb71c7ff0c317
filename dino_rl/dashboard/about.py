"""What a dashboard says of a run that does not change while it goes on."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from dino_rl import __version__
from dino_rl.config import field_docs
from dino_rl.dashboard.board import plain
from dino_rl.envs.task import Task
from dino_rl.train_config import TrainConfig

CANVAS = (600, 150)  # of the Dino's game: what its sprites are drawn on


def about_training(config: TrainConfig, task: Task, run_dir: Any, command: str) -> dict[str, Any]:
    """Of a training run, JSON-ready."""
    env = config.env
    facts = {"command": command, "directory": run_dir}
    here = config.engine == "keras"  # else the games are in other processes
    games = env.num_envs if here else 0
    return _about("train", f"Training {env.id}", config, task, games, env.greedy_envs if here else 0, facts)


def about_playing(
    kind: str, config: TrainConfig, task: Task, games: int, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Of games without learning, JSON-ready.

    Args:
        kind: "play" or "evaluate".
        config: that the model was trained with.
        task: what is played.
        games: that are played at the same time.
        facts: of the model and the games, by name.
    """
    title = {"play": "Playing", "evaluate": "Measuring"}[kind]
    return _about(kind, f"{title} {config.env.id}", config, task, games, games, facts)


def _about(
    kind: str,
    title: str,
    config: TrainConfig,
    task: Task,
    games: int,
    greedy: int,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    spec = task.spec
    observation = spec.observation
    return plain(
        {
            "kind": kind,
            "title": title,
            "env": config.env.id,
            "algorithm": config.algo,
            "actions": spec.actions,
            "score": spec.score,
            "valuesAre": "Q-values" if config.algo == "dqn" else "probabilities",
            "games": games,
            "greedy": greedy,
            "canvas": CANVAS if task.shows_frames else None,
            "shape": observation.shape,
            "isImage": observation.is_image,
            "knowsEnds": bool(spec.info_keys) and games > 0,
            "facts": [
                {"name": name, "value": str(value)}
                for name, value in {**facts, "version": f"dino-rl {__version__}"}.items()
                if value is not None
            ],
            "settings": _settings(config),
        }
    )


def _settings(config: Any, prefix: str = "") -> list[dict[str, Any]]:
    """All fields of a configuration: name, value, documentation."""
    docs = field_docs(type(config))
    rows: list[dict[str, Any]] = []
    for field in fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if is_dataclass(value):
            rows += _settings(value, f"{name}.")
        elif value is not None or field.name not in ("dqn", "cem", "rllib_dqn", "rllib_ppo", "actors"):
            shown = "none" if value is None else str(plain(value))
            rows.append({"name": name, "value": shown, "doc": " ".join(docs.get(field.name, "").split())})
    return rows
