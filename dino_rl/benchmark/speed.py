"""How fast the game, the learner and live play are on this machine."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from dino_rl.agents.dqn import DQN, DQNConfig
from dino_rl.agents.replay import ReplayBuffer
from dino_rl.backend import use_one_thread
from dino_rl.benchmark.tutorial import TutorialCalls
from dino_rl.browser import Game
from dino_rl.envs.dino.env import DinoVectorEnv
from dino_rl.envs.registry import make_task
from dino_rl.presets import preset
from dino_rl.spec import ObservationSpec

RECIPE = preset("dino")
ACTION_WEIGHTS = (0.85, 0.10, 0.05)
FILLED = 20_000  # frames in the replay buffer
FRAMES = 4  # of a step, as in what others measure
LIVE_WARM_UP = 20  # decisions
GAMES = (1, 2, 4, 8, 16, 32, 64)
START_S = 3.0  # about what a browser, or a process with TensorFlow, takes to start


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Scaling:
    """Speed and memory of some number of games in parallel."""

    games: int
    browsers: int
    steps_per_s: float
    """Of all games together."""
    step_ms: float
    """Median time of one step of all games."""
    browser_mb: float
    """Memory that the browsers share with nobody."""


def environment(games: int, browsers: int, seconds: float) -> Scaling:
    """Random play in `DinoVectorEnv`, `FRAMES` frames per step, with stacked observations."""
    rng = np.random.default_rng(0)
    env = DinoVectorEnv(games, decision_interval_frames=FRAMES, browsers=browsers)
    try:
        env.reset(seed=0)
        times = _times(lambda: env.step(rng.choice(3, games, p=ACTION_WEIGHTS)), seconds, warm_up=100)
        memory = env.arena.memory_mb
    finally:
        env.close()
    return Scaling(games, browsers, games * len(times) / sum(times), 1000 * float(np.median(times)), memory)


def tutorial_steps_per_s(seconds: float) -> float:
    """Steps a second by the tutorial's calls."""
    with Game("live") as game:
        return _rate(TutorialCalls(game).step, seconds, warm_up=10)


def full_learner(
    config: DQNConfig, observation: ObservationSpec, num_envs: int
) -> tuple[DQN, ReplayBuffer, Callable[[], None]]:
    """An agent for images, a replay buffer of `FILLED` random frames, and one whole update: sampling,
    gradient step, target network, priorities."""
    rng = np.random.default_rng(0)
    replay = ReplayBuffer(
        replace(config.replay, capacity=FILLED),
        num_envs,
        observation,
        n_step=config.n_step,
        discount=config.discount,
        rng=rng,
        cut_returns=config.cut_returns,
    )
    nothing = np.zeros(num_envs, bool)
    for _ in range(FILLED // num_envs):
        frames = rng.integers(0, 256, (num_envs, *observation.frame_shape), np.uint8)
        actions, rewards = rng.integers(0, 3, num_envs), rng.random(num_envs)
        replay.add(
            frames, first=nothing, action=actions, reward=rewards, terminated=nothing, truncated=nothing
        )
    dqn = DQN(config, observation, 3)

    def update():
        batch = replay.sample(config.batch_size)
        replay.update_priorities(batch.indices, dqn.update(batch, config.learning_rate).td_error)

    return dqn, replay, update


def learner(seconds: float) -> Iterator[Figure]:
    """Updates per second on the Dino's frames, and the share of an update that sampling takes."""
    config, num_envs = RECIPE.dqn, RECIPE.env.num_envs
    assert config is not None
    observation = make_task(RECIPE.env).spec.observation
    dqn, replay, update = full_learner(config, observation, num_envs)
    updates = _rate(update, seconds, warm_up=3)
    samples = _rate(lambda: replay.sample(config.batch_size), seconds / 4, warm_up=1)
    yield Figure(f"learner, batch {config.batch_size}", updates, "updates/s")
    yield Figure("sampling a batch, share of an update", 100 * updates / samples, "%")
    observations = np.random.default_rng(0).integers(0, 256, (num_envs, *observation.shape), np.uint8)
    acting = _rate(lambda: dqn.q_values(observations), seconds / 4, warm_up=3)
    yield Figure(f"choosing actions for {num_envs} games", 1000 / acting, "ms")


def live(decisions: int, url: str | None = None) -> list[Figure]:
    """From the frame that the page drew to the key event that it received, with the network between."""
    assert RECIPE.dqn is not None
    with Game("live", url) as game:
        dqn = DQN(RECIPE.dqn, make_task(RECIPE.env).spec.observation, 3)
        return live_figures(play_live(game, dqn, decisions))


@dataclass(frozen=True)
class LiveDelays:
    """What a page recorded of live play."""

    milliseconds: np.ndarray
    """From frame to key event, of each decision, in the page's time."""
    frame_times: np.ndarray
    """When each frame was drawn, in ms."""
    late: int
    """Decisions on a frame that came one or more frames late."""


def play_live(game: Game, dqn: DQN, decisions: int) -> LiveDelays:
    """Ask the network for each decision, and press and release the jump key in turn: one key event each."""
    interval, stack_size = RECIPE.env.decision_interval_frames, RECIPE.env.stack_size  # type: ignore[union-attr]
    for count in (LIVE_WARM_UP, decisions):
        game.release()
        game.take_delays()
        observation, pressed, late = game.restart(), False, 0
        for _ in range(count):
            if observation.crashed[0]:
                observation, pressed = game.restart(), False
            stack = np.repeat(observation.frames[0][..., None], stack_size, axis=-1)
            dqn.q_values(stack[None])
            pressed = not pressed
            observation = game.step(int(pressed), interval)
            late += game.late_frames > 0
    delays = game.take_delays()
    return LiveDelays(np.array(delays["milliseconds"]), np.array(delays["frame_times"]), late)


def live_figures(delays: LiveDelays) -> list[Figure]:
    """Statistics of live play."""
    milliseconds, count = delays.milliseconds, len(delays.milliseconds)
    return [
        Figure(f"live: frame to key, median of {count:,}", float(np.median(milliseconds)), "ms"),
        Figure("live: frame to key, 99th percentile", float(np.percentile(milliseconds, 99)), "ms"),
        Figure(
            "live: frames per second of the page", float(1000 / np.mean(np.diff(delays.frame_times))), "fps"
        ),
        Figure("live: late decisions", 100 * delays.late / count, "%"),
    ]


def _times(work: Callable[[], object], seconds: float, warm_up: int) -> list[float]:
    """Seconds that each call took, for `seconds` in all."""
    for _ in range(warm_up):
        work()
    times: list[float] = []
    started = now = time.perf_counter()
    while now - started < seconds:
        work()
        times.append(time.perf_counter() - now)
        now += times[-1]
    return times


def _rate(work: Callable[[], object], seconds: float, warm_up: int) -> float:
    times = _times(work, seconds, warm_up)
    return len(times) / sum(times)


def expected_duration_s(seconds: float, decisions: int, games: tuple[int, ...] = GAMES) -> float:
    """About how long `measure` takes."""
    starts = len(games) + 4
    figures = len(games) + 3.5  # the tutorial, games in two browsers, and the learner's parts
    live = decisions * RECIPE.env.decision_interval_frames / 60  # type: ignore[union-attr]
    return START_S * starts + seconds * figures + live


def measure(seconds: float, decisions: int, games: tuple[int, ...] = GAMES) -> Iterator[Figure | Scaling]:
    """All figures as they are measured, each for `seconds`, live play for `decisions`."""
    tutorial = tutorial_steps_per_s(seconds)
    yield Figure("the tutorial's calls, live", tutorial, "steps/s")
    rates = []
    for count, browsers in [(count, 1) for count in games] + [(max(games), 2)]:
        scaling = environment(count, browsers, seconds)
        rates.append(scaling.steps_per_s)
        yield scaling
    yield Figure("lock-step over the tutorial's calls", max(rates) / tutorial, "times")
    yield from learner(seconds)
    # In a process of its own, as games are played: no threads of the learner compete for the cores.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), use_one_thread) as player:
        yield from player.submit(live, decisions).result()
