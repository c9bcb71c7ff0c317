"""The configuration that a command line asks for: a recipe with the changes of a file and of options."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dino_rl.config import load_file, merge, with_overrides
from dino_rl.envs.dino.variation import DINO_ID
from dino_rl.errors import DinoError
from dino_rl.presets import default_for, preset, with_engine
from dino_rl.train_config import TrainConfig, from_data, to_data


def choose(
    *,
    env: str | None = None,
    algo: str | None = None,
    engine: str | None = None,
    preset_name: str | None = None,
    config_file: Path | None = None,
    num_envs: int | None = None,
    actors: int | None = None,
    run: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
) -> TrainConfig:
    """A recipe, then the changes of the file, of the options, and of `overrides`, in this order.

    Args:
        env, algo, engine: which recipe; None: the file's, or the defaults.
        preset_name: the recipe's name, instead.
        config_file: YAML with changes.
        num_envs, actors: environments that step together; processes that play.
        run: fields of the section `run`; None leaves a field as it is.
        network: "width", "activation" and "learning_rate" of whatever algorithm it is.
        overrides: `a.b=value`.

    Raises:
        DinoError: something is unknown, or contradicts something else.
    """
    changes = load_file(config_file) if config_file else {}
    base = _base(env, algo, engine, preset_name, changes)
    data = merge(to_data(base), changes)
    if env:
        data["env"] = {**data["env"], "id": env}
    config = from_data(data)
    config = with_options(config, run or {}, num_envs, actors, network or {})
    config = from_data(with_overrides(to_data(config), overrides))
    if not config.env.id:
        raise DinoError(f"The preset {preset_name} is for any environment: name one with --env.")
    return config


def _base(
    env: str | None, algo: str | None, engine: str | None, preset_name: str | None, changes: Mapping[str, Any]
) -> TrainConfig:
    if preset_name is None:
        section = changes.get("env")
        named = section.get("id") if isinstance(section, Mapping) else None
        return default_for(
            str(env or named or DINO_ID),
            str(algo or changes.get("algo") or "dqn"),
            str(engine or changes.get("engine") or "keras"),
        )
    config = preset(preset_name)
    if engine and engine != config.engine:
        if {engine, config.engine} != {"keras", "ray"}:
            raise DinoError(
                f"The preset {preset_name} is for --engine {config.engine}: leave one of the two out."
            )
        config = with_engine(config, engine)
    if algo and algo != config.algo:
        raise DinoError(f"The preset {preset_name} is for --algo {config.algo}: leave one of the two out.")
    return config


def with_options(
    config: TrainConfig,
    run: Mapping[str, Any],
    num_envs: int | None = None,
    actors: int | None = None,
    network: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The configuration with what the options of a command line say; None leaves a field as it is.

    Raises:
        DinoError: the engine has no actors, or a value is out of bounds.
    """
    data = to_data(config)
    given = {name: value for name, value in run.items() if value is not None}
    if "steps" in given and "minutes" not in given:
        given["minutes"] = None  # the recipe's time limit is for the recipe's length
    data["run"] |= given
    if num_envs:
        env = data["env"]
        # The share of greedy environments stays about the same; at least one environment explores.
        greedy = min(num_envs - 1, round(num_envs * env["greedy_envs"] / env["num_envs"]))
        env |= {"num_envs": num_envs, "greedy_envs": greedy}
    if actors is not None:
        if config.engine == "ray":
            data["actors"]["actors"] = actors
        elif config.engine == "rllib":
            data[config.section]["env_runners"] = actors
        else:
            raise DinoError("--actors is for --engine ray or rllib: leave it out, or add one of them.")
    config = from_data(data)
    return with_network(config, **{k: v for k, v in (network or {}).items() if v is not None})


def with_network(
    config: TrainConfig,
    width: int | None = None,
    activation: str | None = None,
    learning_rate: float | None = None,
) -> TrainConfig:
    """The same run with other hidden layers or another learning rate; None leaves what is there.

    Where the learning rate decays over a run, it decays to the same share of its start.

    Raises:
        ConfigError: a value is out of bounds.
    """
    data = to_data(config)
    section = data[config.section]
    if config.dqn or config.pqn:
        if width is not None:
            section["network"]["width"] = width
        if activation is not None:
            section["network"]["activation"] = activation
        if learning_rate is not None:
            section["learning_rate_end"] *= learning_rate / section["learning_rate"]
    else:
        if width is not None:
            section["hidden_units"] = (width,) * len(section["hidden_units"])
        if activation is not None:
            section["activation"] = activation
    if learning_rate is not None:
        section["learning_rate"] = learning_rate
    return from_data(data)
