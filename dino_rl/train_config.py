"""The whole configuration of a training run: what is learned, by which algorithm, and for how long."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dino_rl.agents.cem import CEMConfig
from dino_rl.agents.dqn import DQNConfig
from dino_rl.agents.pqn import PQNConfig
from dino_rl.config import from_dict
from dino_rl.envs.dino.task import DinoConfig
from dino_rl.envs.gym.make import GymConfig
from dino_rl.envs.registry import env_config_class_of
from dino_rl.errors import ConfigError
from dino_rl.migration import is_old, migrate
from dino_rl.scale.config import ActorsConfig, RLlibDQNConfig, RLlibPPOConfig
from dino_rl.training.run import RunConfig

# The algorithms of each engine: this project's in one process, the same with actors on Ray, or RLlib's.
ENGINES = {"keras": ("dqn", "cem", "pqn"), "ray": ("dqn",), "rllib": ("dqn", "ppo")}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Of the sections dqn, cem, pqn, rllib_dqn, rllib_ppo and actors, a run has those that
    its engine and algorithm use."""

    env: DinoConfig | GymConfig
    """What is learned."""
    engine: Literal["keras", "ray", "rllib"] = "keras"
    """Who learns: this project's agents, the same with actors on Ray, or RLlib's."""
    algo: Literal["dqn", "cem", "pqn", "ppo"] = "dqn"
    """One of the engine's algorithms."""
    dqn: DQNConfig | None = None
    """This project's DQN."""
    cem: CEMConfig | None = None
    """This project's cross-entropy method."""
    pqn: PQNConfig | None = None
    """This project's parallelised Q-network."""
    rllib_dqn: RLlibDQNConfig | None = None
    """RLlib's DQN."""
    rllib_ppo: RLlibPPOConfig | None = None
    """RLlib's PPO."""
    actors: ActorsConfig | None = None
    """Actors on Ray."""
    run: RunConfig = field(default_factory=RunConfig)
    """The length of the run."""

    @property
    def section(self) -> str:
        """Name of the section of the algorithm."""
        return f"rllib_{self.algo}" if self.engine == "rllib" else self.algo

    @property
    def algorithm_config(self) -> Any:
        """The section of the algorithm."""
        return getattr(self, self.section)


def from_data(data: Mapping[str, Any]) -> TrainConfig:
    """A checked configuration from plain data.

    Raises:
        ConfigError: an unknown field, a value that a field cannot have, or values that contradict each other.
    """
    env = data.get("env")
    if not isinstance(env, Mapping):
        raise ConfigError("The section env is missing.")
    # Parsed first: which fields it has depends on the environment's id.
    try:
        parsed = from_dict(env_config_class_of(env), env, path="env")
    except ConfigError as error:
        raise ConfigError(f"{error} (The environment is {env.get('id')}.)") from error
    config = from_dict(TrainConfig, {**data, "env": parsed})
    check(config)
    return config


def from_saved(data: Any) -> TrainConfig:
    """The configuration in a model card or a run directory, of this version or of 0.1.0.

    Raises:
        ConfigError: it is damaged, or something else.
    """
    try:
        return from_data(migrate(data) if is_old(data) else data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"It holds no configuration of a run ({error!r}).") from error


def to_data(config: TrainConfig) -> dict[str, Any]:
    """Plain data, for JSON."""
    return asdict(config)


def check(config: TrainConfig) -> None:
    """Refuse values that contradict each other.

    Raises:
        ConfigError: some do.
    """
    env, run = config.env, config.run
    if config.algo not in ENGINES[config.engine]:
        known = " or ".join(ENGINES[config.engine])
        raise ConfigError(f"--engine {config.engine} has no {config.algo}: use {known}.")
    used = {config.section} | ({"actors"} if config.engine == "ray" else set())
    for name in ("dqn", "cem", "pqn", "rllib_dqn", "rllib_ppo", "actors"):
        given = getattr(config, name) is not None
        if given and name not in used:
            raise ConfigError(
                f"The section {name} is not used by --engine {config.engine} --algo {config.algo}: remove it."
            )
        if not given and name in used:
            raise ConfigError(f"The section {name} is missing.")
    if env.greedy_envs >= env.num_envs:
        raise ConfigError(
            f"env.greedy_envs is {env.greedy_envs} of {env.num_envs} environments: at least one must explore."
        )
    if run.steps is None and run.minutes is None and run.stop_return is None:
        raise ConfigError("The run has no end: set run.steps, run.minutes or run.stop_return.")
