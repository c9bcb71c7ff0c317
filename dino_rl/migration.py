"""Configurations in cards and run directories of version 0.1.0, in today's form."""

from collections.abc import Iterable, Mapping
from typing import Any

DINO_ID = "ChromeDino-v0"

# Version 0.1.0 left a field out of files that were older than the field: its value was this.
_DQN_DEFAULTS: dict[str, Any] = {
    "network": "compact", "width": None, "activation": "relu", "dueling": True, "double": True, "n_step": 10,
    "cut_returns": True, "discount": 0.99, "batch_size": 64, "replay_ratio": 2.0, "replay_capacity": 400_000,
    "replay_compressed": False, "learning_starts": 2_000,
    "priority_exponent": 0.5, "importance_exponent": 0.4,
    "learning_rate": 3e-4, "learning_rate_end": 3e-5, "learning_rate_decay_from": 0.5,
    "gradient_clip_norm": 10.0, "target_update_rate": 0.005, "target_update_period": 1,
    "act_with_target": True,
    "averaged_share": 0.1, "epsilon_start": 0.3, "epsilon_end": 0.0, "epsilon_knee": 0.008,
    "epsilon_knee_at": 0.1, "epsilon_floors": (0.005, 0.2), "epsilon_play": 0.0,
    "random_action_weights": (0.85, 0.10, 0.05), "random_action_exponent": None, "reward_limit": None,
    "updates_per_call": 1,
}  # fmt: skip
_ENV_DEFAULTS: dict[str, Any] = {
    "id": DINO_ID, "num_envs": 16, "greedy_envs": 4, "decision_interval_frames": 2, "reward": "survival",
    "num_actions": 3, "stack_size": 4, "stack_stride": 2, "picture_size": 84, "life_loss_is_final": False,
    "variation": {}, "greedy_max_frames": 12_000,
}  # fmt: skip
_DINO_FIELDS = (
    *("id", "num_envs", "greedy_envs", "decision_interval_frames", "reward", "num_actions"),
    *("stack_size", "stack_stride", "variation", "greedy_max_frames"),
)
_RUN_FIELDS = (
    *("steps", "minutes", "seed", "validations", "validation_games", "validation_max_score"),
    *("checkpoint_minutes", "stop_return"),
)
_SECTIONS = ("env", "engine", "algorithm", "dqn", "cem", "rllib", "on_ray")
_RLLIB_FIELDS = {
    "dqn": ("env_runners", "hidden_units", "activation", "learning_rate", "discount", "batch_size", "n_step",
            "replay_capacity", "learning_starts", "target_update_period", "epsilon_start", "epsilon_end"),
    "ppo": ("env_runners", "hidden_units", "activation", "learning_rate", "discount", "batch_size",
            "initial_action_weights", "gae_lambda", "minibatch_size", "epochs", "value_loss_coefficient",
            "entropy_coefficient"),
}  # fmt: skip
_RLLIB_RENAMED = {"replay_ratio": "samples_per_insert", "epsilon_steps": "epsilon_decay_steps"}


def is_old(data: Mapping[str, Any]) -> bool:
    """Whether a saved configuration has the form of version 0.1.0."""
    return "algorithm" in data or "run" not in data


def migrate(old: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration in today's form.

    Raises:
        KeyError, TypeError, AttributeError: it is no configuration of that version.
    """
    _refuse_unknown(old, (*_SECTIONS, *_RUN_FIELDS, "validation_time_share"))
    engine, algo = old.get("engine", "keras"), old.get("algorithm", "dqn")
    new: dict[str, Any] = {"env": _env(old["env"]), "engine": engine, "algo": algo}
    if engine == "rllib":
        new[f"rllib_{algo}"] = _rllib(old.get("rllib", {}), algo)
    elif algo == "cem":
        new["cem"] = dict(old.get("cem", {}))
    else:
        new["dqn"] = _dqn(old.get("dqn", {}))
    if engine == "ray":
        new["actors"] = dict(old.get("on_ray", {}))
    new["run"] = {name: old[name] for name in _RUN_FIELDS if name in old}
    if "validation_time_share" in old:  # a validation step takes about a quarter of a training step's time
        new["run"]["validation_share"] = 4 * old["validation_time_share"]
    return new


def _refuse_unknown(data: Mapping[str, Any], known: Iterable[str]):
    unknown = set(data) - set(known)
    if unknown:
        raise KeyError(min(unknown))


def _env(given: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_unknown(given, _ENV_DEFAULTS)
    old = {**_ENV_DEFAULTS, **given}
    if old["id"] == DINO_ID:
        return {name: old[name] for name in _DINO_FIELDS}
    return {
        **{name: old[name] for name in ("id", "num_envs", "greedy_envs", "stack_size")},
        "frame_size": old["picture_size"],
        "terminal_on_life_loss": old["life_loss_is_final"],
    }


def _dqn(given: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_unknown(given, _DQN_DEFAULTS)
    old = {**_DQN_DEFAULTS, **given}
    if old["averaged_share"]:
        acting = "average"
    else:
        acting = "target" if old["act_with_target"] else "online"
    same = (
        *("double", "n_step", "cut_returns", "discount", "batch_size", "learning_starts", "learning_rate"),
        *("learning_rate_end", "learning_rate_decay_from", "gradient_clip_norm", "target_update_rate"),
        *("target_update_period", "updates_per_call"),
    )
    exploration = {name: value for name, value in old.items() if name.startswith("epsilon_")}
    exploration["epsilon_evaluation"] = exploration.pop("epsilon_play")
    return {
        "network": {
            "torso": old["network"],
            **{name: old[name] for name in ("width", "activation", "dueling")},
        },
        "replay": {
            "capacity": old["replay_capacity"],
            "compressed": old["replay_compressed"],
            **{name: old[name] for name in ("priority_exponent", "importance_exponent")},
        },
        "exploration": {
            **exploration,
            "action_weights": old["random_action_weights"],
            "duration_exponent": old["random_action_exponent"],
        },
        **{name: old[name] for name in same},
        "samples_per_insert": old["replay_ratio"],
        "acting_network": acting,
        "average_share": old["averaged_share"] or 0.1,
        "reward_clip": old["reward_limit"],
    }


def _rllib(old: Mapping[str, Any], algo: str) -> dict[str, Any]:
    new = {name: value for name, value in old.items() if name in _RLLIB_FIELDS[algo]}
    if algo == "dqn":
        new |= {_RLLIB_RENAMED[name]: value for name, value in old.items() if name in _RLLIB_RENAMED}
    return new
