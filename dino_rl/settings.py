"""Every setting, and every default, in one place: the game's, the agent's, the run's."""

import math
from dataclasses import asdict, dataclass, is_dataclass, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from dino_rl.errors import DinoError

DINO_ID = "ChromeDino-v0"
ACTIVATIONS = ("relu", "tanh", "elu", "gelu", "silu", "selu", "leaky_relu", "sigmoid")
ALGORITHMS = ("dqn", "cem", "ppo")
# Who does the work: this project's own algorithms in one process, the same with actors on Ray, or RLlib's.
ENGINES = {"keras": ("dqn", "cem"), "ray": ("dqn",), "rllib": ("dqn", "ppo")}
# Game seeds given by a caller lie below this, those that an environment draws by itself lie above: a game of
# an evaluation (explicit seeds) is never met in training (drawn seeds).
DRAWN_SEEDS_FROM = 2**31
FILM_SECONDS = 90.0  # of a game on a film: good players go on for long


@dataclass(frozen=True)
class GameSettings:
    """How one lock-step game is set up. The defaults are the game as Chrome plays it on a 60 Hz display."""

    start_speed: float = 6.0  # pixels a frame; the game's own start is 6, its end 13
    constant_speed: bool = False  # no acceleration
    birds: bool = True
    clear_time_ms: float = 3000.0  # time without obstacles at the start
    max_gap: float = 1.5  # the widest gap between two obstacles, in units of the game's narrowest
    night_every: int = 700  # points; a night lasts for 12 s, and none begins in another
    dino_x: int = 24  # where the intro leaves the dino: 24 at 60 Hz, 0 at 120 Hz
    frame_jitter_ms: float = 0.0  # each frame lasts 1000/60 ms plus or minus up to this
    long_frame_share: float = 0.0  # of frames that last twice as long, as where a display skips one
    action_delay: tuple[float, ...] = (1.0,)  # probability that an action comes 0, 1, 2... frames late
    rewindable: bool = False  # keep its last moments, to go back to one of them after a crash

    def for_page(self) -> dict:
        """The settings as `game/bridge.js` reads them."""
        return asdict(self)


@dataclass(frozen=True)
class GameVariation:
    """Games drawn at random around a base, for training: what is varied is what a live game varies.

    `dino_x` depends on the display's frame rate, delay and jitter on the machine; a start at a random
    speed shows all speeds from the first minute on.
    """

    base: GameSettings = GameSettings()
    start_speed: tuple[float, float] = (6.0, 6.0)
    random_start_share: float = 0.0  # share of games that start at a speed drawn from `start_speed`
    full_speed_share: float = 0.0  # share of games that start at the top of `start_speed`
    # Share of games with a `max_gap` drawn between `tightest_gap` and the base's. Below 1 gaps are narrower
    # than the game ever draws them: who masters those has something to spare.
    tight_gaps_share: float = 0.0
    tightest_gap: float = 1.0
    # Share of games that keep the base's speed, in even frames, as only lock-step plays them: at exactly 6 an
    # obstacle moves by 5 or 6 pixels a frame, as rounding falls, a rhythm that no other game has.
    constant_speed_share: float = 0.0
    # Each game draws its own `night_every`; None: the base's. Short games would never see a night.
    night_every: tuple[int, int] | None = None
    dino_x: tuple[int, int] | None = None  # None: the base's
    # The frames of a live game are not alike, and in each an obstacle's move is rounded down. Each game draws
    # its own jitter, log-uniformly; None: the base's.
    frame_jitter_ms: tuple[float, float] | None = None
    long_frame_share: tuple[float, float] = (0.0, 0.0)  # each game draws its own
    # Each game draws the weights of its action delays (0, 1, 2... frames) from a Dirichlet distribution with
    # these concentrations; none: the base's.
    delay_concentrations: tuple[float, ...] = ()
    # Share of crashes after which the game is wound back by half a second to two seconds instead of starting
    # anew: what it has not mastered comes again at once, and what follows is drawn anew.
    rewind_share: float = 0.0
    # Cut a game off (truncated, not terminated) after this many frames. A good player never comes back to
    # the slow speeds by itself, and forgets them.
    max_frames: int | None = None

    def as_live(self, base: GameSettings, max_frames: int | None = None) -> "GameVariation":
        """Whole games around `base` that vary in what the display and the machine decide: one live game is
        played with one dino's place, one rhythm of frames, one pattern of delays."""
        return GameVariation(
            base,
            dino_x=self.dino_x,
            frame_jitter_ms=self.frame_jitter_ms,
            long_frame_share=self.long_frame_share,
            delay_concentrations=self.delay_concentrations,
            max_frames=max_frames,
        )

    def draw(self, rng: np.random.Generator) -> GameSettings:
        """Settings of one game."""
        changes: dict[str, Any] = {}
        if self.dino_x:
            changes["dino_x"] = int(rng.integers(self.dino_x[0], self.dino_x[1] + 1))
        if self.frame_jitter_ms:
            changes["frame_jitter_ms"] = float(np.exp(rng.uniform(*np.log(self.frame_jitter_ms))))
        if any(self.long_frame_share):
            changes["long_frame_share"] = float(rng.uniform(*self.long_frame_share))
        shares = (self.full_speed_share, self.random_start_share, self.constant_speed_share)
        match np.searchsorted(np.cumsum(shares), rng.random(), side="right"):
            case 0:
                changes["start_speed"] = float(self.start_speed[1])
            case 1:
                changes["start_speed"] = float(rng.uniform(*self.start_speed))
            case 2:
                changes |= {"constant_speed": True, "frame_jitter_ms": 0.0, "long_frame_share": 0.0}
        if self.night_every:
            changes["night_every"] = int(rng.integers(self.night_every[0], self.night_every[1] + 1))
        if rng.random() < self.tight_gaps_share:
            changes["max_gap"] = float(rng.uniform(self.tightest_gap, self.base.max_gap))
        if self.delay_concentrations:
            weights = rng.dirichlet(self.delay_concentrations)
            changes["action_delay"] = tuple(float(weight) for weight in weights)
        if self.rewind_share:
            changes["rewindable"] = True
        return GameSettings(**{**asdict(self.base), **changes})


@dataclass(frozen=True)
class DQNSettings:
    """Hyper-parameters of the DQN agent. Schedules are over the run's progress, from 0 to 1."""

    network: str = "compact"  # a key of dino_rl.agents.networks.TORSOS
    width: int | None = None  # units of each hidden dense layer; None: the network's own
    activation: str = "relu"  # of all hidden layers
    dueling: bool = True
    double: bool = True
    n_step: int = 10
    cut_returns: bool = True  # n-step returns end before an action that is not greedy (Watkins 1989)
    discount: float = 0.99
    batch_size: int = 64
    replay_ratio: float = 2.0  # transitions learned from for each environment step
    replay_capacity: int = 400_000  # frames; 80x80 bytes each for images
    replay_compressed: bool = False  # an eighth of that memory, for a little more time
    learning_starts: int = 2_000  # environment steps before the first update
    priority_exponent: float = 0.5  # 0 samples uniformly; 0.6 is Schaul et al. 2016
    importance_exponent: float = 0.4
    learning_rate: float = 3e-4
    learning_rate_end: float = 3e-5
    learning_rate_decay_from: float = 0.5  # progress at which the rate begins to fall
    gradient_clip_norm: float = 10.0
    target_update_rate: float = 0.005  # share of the way that the target network moves each time
    target_update_period: int = 1  # updates between those moves
    act_with_target: bool = True  # the target network is a running mean, and plays better
    # The network that acts is a running mean over about this share of all updates so far; 0: the target
    # network, or the one that learns. Players of successive minutes fail at one thing each; means seldom do.
    averaged_share: float = 0.1
    epsilon_start: float = 0.3
    epsilon_end: float = 0.0
    epsilon_knee: float = 0.008  # reached at `epsilon_knee_at`, then linearly on to the end
    epsilon_knee_at: float = 0.1
    # The exploring environments never explore less than this, spaced evenly in its logarithm from the first
    # to the last; none: no such floor. Without it a good player's memory holds next to no crashes.
    epsilon_floors: tuple[float, float] | None = (0.005, 0.2)
    epsilon_play: float = 0.0  # share of random actions of the finished agent; some games have dead ends
    random_action_weights: tuple[float, ...] = (0.85, 0.10, 0.05)  # nothing, jump, duck; none: all alike
    random_action_exponent: float | None = None  # of how long they last, see `Explorer`; none: one step
    reward_limit: float | None = None  # rewards are learned as if they lay within plus or minus this
    updates_per_call: int = 1  # of TensorFlow; dense networks cost less than the call, others much more

    def epsilon(self, progress: float) -> float:
        """Share of random actions at this point of the run."""
        if progress < self.epsilon_knee_at:
            share = progress / self.epsilon_knee_at
            return self.epsilon_start + (self.epsilon_knee - self.epsilon_start) * share
        share = (progress - self.epsilon_knee_at) / max(1 - self.epsilon_knee_at, 1e-9)
        return self.epsilon_knee + (self.epsilon_end - self.epsilon_knee) * min(1.0, share)

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate at this point of the run."""
        share = (progress - self.learning_rate_decay_from) / max(1 - self.learning_rate_decay_from, 1e-9)
        share = min(1.0, max(0.0, share))
        return self.learning_rate + (self.learning_rate_end - self.learning_rate) * share


@dataclass(frozen=True)
class CEMSettings:
    """Hyper-parameters of the deep cross-entropy method; their sources are in docs/cem.md."""

    sessions: int = 100  # in an iteration
    elite_percentile: float = 70.0  # sessions whose return is at least this percentile of all are elites
    hidden_units: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    learning_rate: float = 1e-3
    batch_size: int = 256  # state-action pairs
    epochs: int = 4  # passes over the elites' pairs in an iteration


@dataclass(frozen=True)
class RLlibSettings:
    """Hyper-parameters of RLlib's own DQN and PPO, on Ray 2.60."""

    # Processes that play, each with all of `EnvSettings.num_envs` (the Dino's: in one browser); 0: the
    # learner's own does.
    env_runners: int = 0
    hidden_units: tuple[int, ...] = (256, 256)  # after the convolutions, where there are some
    activation: str = "tanh"
    learning_rate: float = 3e-4
    discount: float = 0.99
    batch_size: int = 2_000  # transitions of an update (DQN), steps played for one (PPO)
    # DQN's: double, dueling, prioritized (0.6, 0.4).
    n_step: int = 1  # the longest: each return spans 1 to so many steps, at random
    replay_ratio: float = 16.0  # transitions learned from for each environment step
    replay_capacity: int = 50_000
    learning_starts: int = 1_000  # environment steps before the first update
    target_update_period: int = 200  # environment steps
    epsilon_start: float = 1.0
    epsilon_end: float = 0.02
    epsilon_steps: int = 6_000  # environment steps from the start to the end
    # PPO's
    initial_action_weights: tuple[float, ...] = ()  # of the first policy's actions, about; none: all alike
    gae_lambda: float = 1.0  # of generalized advantages (Schulman et al. 2016); RLlib's default
    minibatch_size: int = 128
    epochs: int = 6  # passes over the steps of an update
    value_loss_coefficient: float = 0.01
    entropy_coefficient: float = 0.0


@dataclass(frozen=True)
class OnRaySettings:
    """How our own DQN is spread over processes and machines; the sources are in docs/scaling.md."""

    actors: int = 2  # each with all of `EnvSettings.num_envs`
    epsilon: float = 0.4  # of the first exploring environment; the ladder's top
    epsilon_exponent: float = 7.0  # of the last one, less 1; the ladder's foot
    rollout_steps: int = 16  # steps of all of an actor's environments, sent together
    in_flight: int = 2  # rollouts that an actor may be ahead of the learner
    publish_updates: int = 16  # updates from one publication of the weights to the next


@dataclass(frozen=True)
class EnvSettings:
    """How an environment is made. What concerns the Dino game only (`DINO_FIELDS`) is ignored elsewhere."""

    id: str = DINO_ID
    num_envs: int = 16
    greedy_envs: int = 4  # of these: no exploration, full games from the start
    decision_interval_frames: int = 2
    reward: str = "survival"
    num_actions: int = 3
    stack_size: int = 4  # pictures in an observation
    stack_stride: int = 2  # decisions from one picture of an observation to the next
    picture_size: int = 84  # side of the grey square that other games' images become
    life_loss_is_final: bool = False  # in training, a lost life is worth no more than a lost game
    variation: GameVariation = GameVariation(
        base=GameSettings(clear_time_ms=300.0),
        start_speed=(6.0, 13.0),
        random_start_share=0.45,
        full_speed_share=0.3,
        constant_speed_share=0.1,
        tight_gaps_share=0.5,
        tightest_gap=0.8,
        rewind_share=0.7,
        dino_x=(0, 30),  # live play has 0 at 120 Hz, 11 to 24 at 60 Hz
        frame_jitter_ms=(0.05, 3.0),  # live play has 1.5 to 2.5 ms
        long_frame_share=(0.0, 0.02),
        # Small numbers: mostly one delay in a game, now and then another, as live play has it.
        delay_concentrations=(0.6, 0.25, 0.05),
        night_every=(50, 700),
        max_frames=2_400,
    )
    greedy_max_frames: int | None = 12_000  # of the greedy games; full speed is reached at 7,000


DINO_FIELDS = ("decision_interval_frames", "reward", "num_actions", "variation", "greedy_max_frames")


@dataclass(frozen=True)
class RunSettings:
    """One training run: what to learn, how, and for how long."""

    env: EnvSettings = EnvSettings()
    engine: str = "keras"  # a key of ENGINES
    algorithm: str = "dqn"  # one of the engine's
    dqn: DQNSettings = DQNSettings()
    cem: CEMSettings = CEMSettings()
    rllib: RLlibSettings = RLlibSettings()
    on_ray: OnRaySettings = OnRaySettings()
    steps: int | None = None  # environment steps
    minutes: float | None = 60.0  # whichever of the two ends first
    seed: int = 0
    validations: int = 8  # greedy games on held-out seeds, evenly over the run; they choose the best model
    validation_games: int = 20  # half of the Dino's vary as live ones do
    validation_max_score: int | None = 10_000  # of the Dino, in an hour's run; others end by themselves
    validation_time_share: float = 0.15  # they take about this share of the time at most
    checkpoint_minutes: float = 10.0
    stop_return: float | None = None  # stop when the mean of the last 100 episodes reaches this

    @property
    def validation_cap(self) -> int | None:
        """Where validation games are ended: lower in short runs, which good players' games would fill."""
        if self.validation_max_score is None or self.minutes is None:
            return self.validation_max_score
        return math.ceil(self.validation_max_score * min(1.0, self.minutes / 60))


@dataclass(frozen=True)
class SearchSettings:
    """A search for hyper-parameters: all pairs of widths and activations, each with learning rates drawn
    log-uniformly."""

    run: RunSettings  # of a trial; its `stop_return` is the target, its end where a trial gives up
    preset: str | None = None  # that `run` was made from, if it was named
    widths: tuple[int, ...] = (32, 64, 128)
    activations: tuple[str, ...] = ("relu", "tanh")
    learning_rates: tuple[float, ...] = (1e-4, 1e-2)  # from, to
    samples: int = 1  # of each pair
    concurrent: int = 2  # trials at once
    metric: str = "steps"  # or "seconds": what is to be small
    scheduler: str = "none"  # or "asha", "median": ends trials early that do worse than others
    grace_share: float = 0.15  # of a trial, before one of them may end it


# Plain double DQN on a vector of numbers, the way that the LunarLander tutorials learn.
_VECTORS = RunSettings(
    env=EnvSettings(id="", num_envs=16, greedy_envs=0, stack_size=1, stack_stride=1),
    dqn=DQNSettings(
        network="dense",
        dueling=False,
        n_step=1,
        cut_returns=False,
        replay_ratio=16.0,  # a batch of 64 every 4 steps
        replay_capacity=100_000,
        learning_starts=1_000,
        priority_exponent=0.0,
        importance_exponent=0.0,
        learning_rate=5e-4,
        learning_rate_end=5e-5,
        target_update_rate=1e-3,
        averaged_share=0.0,
        epsilon_start=1.0,
        epsilon_knee=0.05,
        epsilon_knee_at=0.05,
        epsilon_end=0.01,
        epsilon_floors=None,
        random_action_weights=(),
        updates_per_call=8,
    ),
    steps=1_000_000,
    minutes=None,
    validations=5,
    validation_max_score=None,
)
# Pictures: the Dino's own recipe, with what Atari games need (Mnih et al. 2015): clipped rewards, and a lost
# life that is final.
_IMAGES = RunSettings(
    env=EnvSettings(id="", num_envs=8, greedy_envs=0, stack_stride=1, life_loss_is_final=True),
    dqn=DQNSettings(
        n_step=3,
        cut_returns=False,
        averaged_share=0.0,
        replay_ratio=8.0,
        replay_capacity=200_000,
        epsilon_start=1.0,
        epsilon_knee=0.05,
        epsilon_end=0.01,
        epsilon_floors=None,
        epsilon_play=0.01,
        random_action_weights=(),
        reward_limit=1.0,
    ),
    minutes=30.0,
    validation_games=10,
    validation_max_score=None,
)
_CEM = replace(
    _VECTORS,
    algorithm="cem",
    env=replace(_VECTORS.env, num_envs=20),
    steps=None,
    minutes=10.0,
    validations=1,
)

_RLLIB_DQN = replace(
    _VECTORS,
    engine="rllib",
    env=replace(_VECTORS.env, num_envs=16),
    # RLlib spends some 30 ms on an update, and 0.3 ms more on each transition: few updates.
    rllib=RLlibSettings(
        learning_rate=1e-3, batch_size=64, replay_ratio=4.0, n_step=3, target_update_period=500
    ),
    steps=None,
    minutes=10.0,
)
_RLLIB_PPO = replace(
    _RLLIB_DQN, algorithm="ppo", env=replace(_VECTORS.env, num_envs=8), rllib=RLlibSettings()
)
_DINO_RLLIB_DQN = RunSettings(
    engine="rllib",
    # RLlib makes some 15 updates a second here: fewer, longer decisions see more of the game with them.
    env=EnvSettings(greedy_envs=0, decision_interval_frames=4, stack_stride=1),
    rllib=RLlibSettings(
        hidden_units=(256,),
        activation="relu",
        learning_rate=5e-4,
        discount=0.97,  # a jump is judged within 30 decisions
        batch_size=64,
        n_step=5,
        replay_ratio=4.0,
        replay_capacity=40_000,  # whole stacks of four: 1 GB
        learning_starts=2_000,
        target_update_period=1_000,
        epsilon_start=0.2,  # who jumps at random is in the air when the cactus comes
        epsilon_end=0.01,
        epsilon_steps=15_000,
    ),
)
_DINO_RLLIB_PPO = replace(
    _DINO_RLLIB_DQN,
    algorithm="ppo",
    rllib=RLlibSettings(
        hidden_units=(256,),
        activation="relu",
        learning_rate=5e-4,
        discount=0.97,
        batch_size=2_000,
        # Near enough to doing nothing, for the same reason.
        initial_action_weights=(0.85, 0.10, 0.05),
        gae_lambda=0.95,
        minibatch_size=250,
        epochs=4,
        value_loss_coefficient=0.5,
        entropy_coefficient=0.01,
    ),
)

# The first preset of an environment, an engine and an algorithm is its default; those of no environment are
# the defaults of all others. Actors on Ray take the presets of the one process.
PRESETS: dict[str, RunSettings] = {
    "dino": RunSettings(),
    # A memory of a million pictures in 0.8 GB; docs/performance.md says what it costs.
    "dino-million": RunSettings(dqn=DQNSettings(replay_capacity=1_000_000, replay_compressed=True)),
    # The tutorial that most people know, as it is told: its network, its reward, plain DQN.
    "dino-tutorial": RunSettings(
        env=EnvSettings(
            num_envs=1,
            greedy_envs=0,
            decision_interval_frames=4,
            reward="tutorial",
            num_actions=2,
            stack_stride=1,
            variation=GameVariation(),
        ),
        dqn=DQNSettings(
            network="tutorial",
            dueling=False,
            double=False,
            n_step=1,
            batch_size=16,
            replay_ratio=16.0,
            replay_capacity=50_000,
            learning_rate=1e-4,
            learning_rate_end=1e-4,
            target_update_rate=1.0,
            act_with_target=False,
            averaged_share=0.0,
            epsilon_start=0.1,
            epsilon_knee=1e-4,
            epsilon_knee_at=1.0,
            epsilon_end=1e-4,
            epsilon_floors=None,
            random_action_weights=(0.5, 0.5),
        ),
    ),
    "cartpole": replace(
        _VECTORS,
        env=replace(_VECTORS.env, id="CartPole-v1"),
        # The pole can be held for 500 steps, which values must travel: longer returns, a quicker target, and
        # rewards so small that values of a hundred steps stay near 10.
        dqn=replace(_VECTORS.dqn, n_step=3, reward_limit=0.1, target_update_rate=0.005, epsilon_knee_at=0.07),
        steps=300_000,
        stop_return=475.0,  # Gymnasium's own reward threshold, as the next two
    ),
    "acrobot": replace(_VECTORS, env=replace(_VECTORS.env, id="Acrobot-v1"), stop_return=-100.0),
    "lunarlander": replace(
        _VECTORS,
        env=replace(_VECTORS.env, id="LunarLander-v3"),
        dqn=replace(_VECTORS.dqn, discount=0.995, n_step=3, epsilon_knee_at=0.1),
        stop_return=200.0,
    ),
    "breakout": replace(_IMAGES, env=replace(_IMAGES.env, id="ALE/Breakout-v5")),
    # As published (Mnih et al. 2015, extended data table 1), but for Adam. Days: see docs/gymnasium.md.
    "breakout-nature": replace(
        _IMAGES,
        env=replace(_IMAGES.env, id="ALE/Breakout-v5"),
        dqn=replace(
            _IMAGES.dqn,
            network="nature",
            dueling=False,
            double=False,
            n_step=1,
            batch_size=32,
            replay_capacity=1_000_000,
            replay_compressed=True,
            learning_starts=50_000,
            priority_exponent=0.0,
            importance_exponent=0.0,
            learning_rate=6.25e-5,
            learning_rate_end=6.25e-5,
            target_update_rate=1.0,
            target_update_period=10_000,
            act_with_target=False,
            averaged_share=0.0,
            epsilon_knee=0.1,
            epsilon_knee_at=0.02,
            epsilon_end=0.1,
            epsilon_play=0.05,
        ),
        steps=12_500_000,
        minutes=None,
        validations=20,
        checkpoint_minutes=60.0,
    ),
    "cartpole-cem": replace(_CEM, env=replace(_CEM.env, id="CartPole-v1"), stop_return=190.0),
    "vectors": _VECTORS,
    "images": _IMAGES,
    "vectors-cem": _CEM,
    "dino-rllib-dqn": _DINO_RLLIB_DQN,
    "dino-rllib-ppo": _DINO_RLLIB_PPO,
    "vectors-rllib-dqn": _RLLIB_DQN,
    "vectors-rllib-ppo": _RLLIB_PPO,
}


def preset(name: str) -> RunSettings:
    """The settings of that name.

    Raises:
        DinoError: there are none.
    """
    if name not in PRESETS:
        raise DinoError(f"Unknown preset {name!r}: use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def with_network(
    settings: RunSettings,
    width: int | None = None,
    activation: str | None = None,
    learning_rate: float | None = None,
) -> RunSettings:
    """The same run with other hidden layers, or another learning rate; None leaves what is there.

    Where the learning rate falls in the course of a run, it falls to the same share of its start.
    """
    name = "rllib" if settings.engine == "rllib" else settings.algorithm
    part = getattr(settings, name)
    changes: dict[str, Any] = {}
    if width is not None:
        is_dqn = isinstance(part, DQNSettings)
        changes |= {"width": width} if is_dqn else {"hidden_units": (width,) * len(part.hidden_units)}
    if activation is not None:
        changes["activation"] = activation
    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
        if isinstance(part, DQNSettings):
            changes["learning_rate_end"] = part.learning_rate_end * learning_rate / part.learning_rate
    return replace(settings, **{name: replace(part, **changes)})


def with_actors(settings: RunSettings, actors: int) -> RunSettings:
    """The same run with so many processes that play.

    Raises:
        DinoError: its engine has none.
    """
    if settings.engine == "ray":
        return replace(settings, on_ray=replace(settings.on_ray, actors=actors))
    if settings.engine == "rllib":
        return replace(settings, rllib=replace(settings.rllib, env_runners=actors))
    raise DinoError("--actors is for --engine ray or rllib: leave it out, or add one of them.")


def from_dict(cls: type, data: dict[str, Any]) -> Any:
    """A (nested) settings dataclass from plain data, as `dataclasses.asdict` or JSON gives it.

    Raises:
        TypeError: a field that the dataclass does not have, or a value of another type.
    """
    hints = get_type_hints(cls)
    values = {}
    for name, value in data.items():
        hint = hints.get(name)
        if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
            value = from_dict(hint, value)
        elif isinstance(value, list):
            value = tuple(value)
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(f"{name} is {value!r}")
        values[name] = value
    return cls(**values)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; a whole number does for any number."""
    if get_origin(hint) is UnionType:
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, hint)
