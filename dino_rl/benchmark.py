"""How fast the game, the learner and live play are on this machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dino_rl.agents.dqn import DQN, make_replay
from dino_rl.agents.replay import Replay
from dino_rl.browser import Game
from dino_rl.browser.frames import SIZE
from dino_rl.browser.tutorial import TutorialCalls
from dino_rl.envs import DinoVectorEnv
from dino_rl.settings import DQNSettings, EnvSettings, RunSettings

ACTION_WEIGHTS = (0.85, 0.10, 0.05)
STACK = (SIZE, SIZE, EnvSettings().stack_size)
FILLED = 20_000  # frames in the replay memory
FRAMES = 4  # a step, as in what others measure
GAMES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Scaling:
    """What some number of games side by side brings, and costs."""

    games: int
    browsers: int
    steps_per_s: float  # of all games together
    step_ms: float  # of one step of all games, median
    browser_mb: float  # memory that the browsers have to themselves


def environment(games: int, browsers: int, seconds: float) -> Scaling:
    """Random play in `DinoVectorEnv`, `FRAMES` frames a step, pictures stacked and delivered to numpy."""
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


def full_learner(settings: RunSettings, size: int) -> tuple[DQN, Replay, Callable[[], None]]:
    """An agent for pictures of size x size, a replay memory of `FILLED` random ones, and one whole update:
    sampling, gradient step, target network, priorities."""
    dqn, num_envs = settings.dqn, settings.env.num_envs
    rng = np.random.default_rng(0)
    shape = (size, size, settings.env.stack_size)
    bounded = replace(settings, dqn=replace(dqn, replay_capacity=FILLED))
    replay = make_replay(bounded, num_envs, 1.0, shape, np.dtype(np.uint8), rng)
    nothing = np.zeros(num_envs, bool)
    for _ in range(FILLED // num_envs):
        frames = rng.integers(0, 256, (num_envs, size, size), np.uint8)
        replay.add(frames, nothing, rng.integers(0, 3, num_envs), rng.random(num_envs), nothing, nothing)
    agent = DQN(dqn, shape, 3)

    def update():
        batch = replay.sample(dqn.batch_size, dqn.importance_exponent)
        replay.update_priorities(batch.index, agent.update(batch, dqn.learning_rate)[2])

    return agent, replay, update


def learner(run: RunSettings, seconds: float) -> Iterator[Figure]:
    """Updates a second on pictures, and the share of an update that sampling takes."""
    settings, num_envs = run.dqn, run.env.num_envs
    agent, replay, update = full_learner(run, SIZE)
    updates = _rate(update, seconds, warm_up=3)
    samples = _rate(lambda: replay.sample(settings.batch_size), seconds / 4, warm_up=1)
    yield Figure(f"learner, batch {settings.batch_size}", updates, "updates/s")
    yield Figure("sampling a batch, share of an update", 100 * updates / samples, "%")
    observations = np.random.default_rng(0).integers(0, 256, (num_envs, *STACK), np.uint8)
    acting = _rate(lambda: agent.q_values(observations), seconds / 4, warm_up=3)
    yield Figure(f"choosing actions for {num_envs} games", 1000 / acting, "ms")


def live(seconds: float) -> Iterator[Figure]:
    """From the frame that the page drew to the key event that it received, with the network between."""
    agent = DQN(DQNSettings(), STACK, 3)
    interval = EnvSettings().decision_interval_frames
    with Game("live") as game:
        observation = game.restart()
        agent.q_values(np.zeros((1, *STACK), np.uint8))
        game.take_delays()
        late = decisions = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if observation.crashed[0]:
                observation = game.restart()
            stack = np.repeat(observation.pictures[0][..., None], STACK[2], axis=-1)
            agent.q_values(stack[None])
            observation = game.step(decisions % 2, interval)  # a key event with every decision
            decisions += 1
            late += game.late_frames > 0
        delays = game.take_delays()
    milliseconds = np.array(delays["milliseconds"][5:])
    gaps = np.diff(delays["frame_times"])
    yield Figure("live: picture to key, median", float(np.median(milliseconds)), "ms")
    yield Figure("live: picture to key, 99th percentile", float(np.percentile(milliseconds, 99)), "ms")
    yield Figure("live: frames a second of the page", float(1000 / np.median(gaps)), "fps")
    yield Figure("live: late decisions", 100 * late / max(1, decisions), "%")


def _times(work: Callable[[], object], seconds: float, warm_up: int) -> list[float]:
    """Seconds that each call took, for as long as told."""
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


def measure(seconds: float = 10.0, games: tuple[int, ...] = GAMES) -> Iterator[Figure | Scaling]:
    """All figures, as they are measured."""
    tutorial = tutorial_steps_per_s(seconds)
    yield Figure("the tutorial's calls, live", tutorial, "steps/s")
    rates = []
    for count, browsers in [(count, 1) for count in games] + [(max(games), 2)]:
        scaling = environment(count, browsers, seconds)
        rates.append(scaling.steps_per_s)
        yield scaling
    yield Figure("lock-step over the tutorial's calls", max(rates) / tutorial, "times")
    yield from learner(RunSettings(), seconds)
    yield from live(2 * seconds)
