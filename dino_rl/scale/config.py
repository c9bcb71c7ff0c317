"""Configuration of what runs on Ray. Loads without Ray, for model cards and `presets`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from dino_rl.activation import Activation

Fraction = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class ActorsConfig:
    """This project's DQN with its environments in actors: the shape of Ape-X (Horgan et al. 2018,
    https://arxiv.org/abs/1803.00933)."""

    actors: Annotated[int, Ge(1)] = 2
    """Processes that play, each with all of `env.num_envs`."""
    epsilon: Annotated[float, Interval(gt=0, lt=1)] = 0.4
    """Share of random actions of the environment that explores most (Horgan et al. 2018)."""
    epsilon_exponent: Annotated[float, Ge(0)] = 7.0
    """The one that explores least has epsilon ** (1 + epsilon_exponent) (Horgan et al. 2018)."""
    rollout_steps: Annotated[int, Ge(1)] = 16
    """Steps of all of an actor's environments that are sent together."""
    in_flight: Annotated[int, Ge(1)] = 2
    """Rollouts that an actor may be ahead of the learner."""
    publish_updates: Annotated[int, Ge(1)] = 16
    """Updates from one publication of the weights to the next."""


@dataclass(frozen=True)
class RLlibDQNConfig:
    """RLlib's DQN: double, dueling, prioritized replay (0.6, 0.4). On Ray 2.60."""

    env_runners: Annotated[int, Ge(0)] = 0
    """Processes that play, each with all of `env.num_envs`; 0: the learner's own process plays."""
    hidden_units: tuple[Annotated[int, Ge(1)], ...] = (256, 256)
    """Dense layers; of images, those after the convolutions."""
    activation: Activation = "tanh"
    """Of the dense layers."""
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    """Of Adam."""
    discount: Fraction = 0.99
    """Per step."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Transitions of an update."""
    n_step: Annotated[int, Ge(1)] = 1
    """The longest return; each spans 1 to this many steps, drawn at random."""
    samples_per_insert: Annotated[float, Gt(0)] = 8.0
    """Transitions learned from for each environment step (RLlib's training_intensity)."""
    replay_capacity: Annotated[int, Ge(1)] = 50_000
    """Transitions."""
    learning_starts: Annotated[int, Ge(0)] = 1_000
    """Environment steps before the first update."""
    target_update_period: Annotated[int, Ge(1)] = 500
    """Environment steps between copies to the target network."""
    epsilon_start: Fraction = 1.0
    """Share of random actions at the start."""
    epsilon_end: Fraction = 0.02
    """Share of random actions from `epsilon_decay_steps` on."""
    epsilon_decay_steps: Annotated[int, Ge(1)] = 10_000
    """Environment steps from the start to the end of the linear decay."""


@dataclass(frozen=True)
class RLlibPPOConfig:
    """RLlib's PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347). On Ray 2.60."""

    env_runners: Annotated[int, Ge(0)] = 0
    """Processes that play, each with all of `env.num_envs`; 0: the learner's own process plays."""
    hidden_units: tuple[Annotated[int, Ge(1)], ...] = (256, 256)
    """Dense layers; of images, those after the convolutions."""
    activation: Activation = "tanh"
    """Of the dense layers."""
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Of Adam."""
    discount: Fraction = 0.99
    """Per step."""
    batch_size: Annotated[int, Ge(1)] = 2_000
    """Environment steps played for one update."""
    minibatch_size: Annotated[int, Ge(1)] = 128
    """Transitions of a gradient step."""
    epochs: Annotated[int, Ge(1)] = 6
    """Passes over the steps of an update."""
    gae_lambda: Fraction = 1.0
    """Of generalized advantage estimation (Schulman et al. 2016); 1 is RLlib's default."""
    value_loss_coefficient: Annotated[float, Ge(0)] = 0.01
    """Weight of the value loss."""
    entropy_coefficient: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""
    initial_action_weights: tuple[float, ...] = ()
    """Approximate probabilities of the actions of the first policy; empty: uniform."""


@dataclass(frozen=True)
class SearchConfig:
    """A search for hyper-parameters: a grid of widths and activations, each with learning rates drawn
    log-uniformly."""

    run: Any
    """The `TrainConfig` of a trial: its `stop_return` is the target, its end is where a trial gives up."""
    preset: str | None = None
    """The preset that `run` was made from, if one was named."""
    widths: tuple[Annotated[int, Ge(1)], ...] = (32, 64, 128)
    """Units of the hidden dense layers."""
    activations: tuple[Activation, ...] = ("relu", "tanh")
    """Of the hidden layers."""
    learning_rates: tuple[float, float] = (1e-4, 1e-2)
    """From and to."""
    samples: Annotated[int, Ge(1)] = 1
    """Learning rates for each pair of width and activation."""
    concurrent: Annotated[int, Ge(1)] = 2
    """Trials that run at the same time."""
    metric: Literal["steps", "seconds"] = "steps"
    """What a trial should need little of to reach the target."""
    scheduler: Literal["none", "asha", "median"] = "none"
    """How trials that do worse than others are ended early."""
    grace_share: Fraction = 0.15
    """Share of a trial before which no scheduler ends it."""
