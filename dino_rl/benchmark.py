"""How fast the game, the learner and live play are on this machine."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from dino_rl.agents.dqn import DQN, make_replay
from dino_rl.agents.replay import Replay
from dino_rl.backend import share_cores
from dino_rl.browser import Game
from dino_rl.browser.frames import SIZE
from dino_rl.browser.tutorial import TutorialCalls
from dino_rl.envs import DinoVectorEnv
from dino_rl.settings import DQNSettings, EnvSettings, RunSettings

ACTION_WEIGHTS = (0.85, 0.10, 0.05)
STACK = (SIZE, SIZE, EnvSettings().stack_size)
FILLED = 20_000  # frames in the replay memory
FRAMES = 4  # a step, as in what others measure
LIVE_WARM_UP = 20  # decisions
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


def live(decisions: int, url: str | None = None) -> list[Figure]:
    """From the frame that the page drew to the key event that it received, with the network between."""
    with Game("live", url) as game:
        return live_figures(play_live(game, DQN(DQNSettings(), STACK, 3), decisions))


@dataclass(frozen=True)
class LiveDelays:
    """What a page noted of live play, and what became of its frames."""

    milliseconds: np.ndarray  # of each decision, in the page's time
    frame_times: np.ndarray  # ms
    late: int  # decisions on a picture that came a frame or more after its turn


def play_live(game: Game, agent: DQN, decisions: int) -> LiveDelays:
    """Ask the network for each decision, and press and release the jump key by turns: one key event each."""
    interval = EnvSettings().decision_interval_frames
    for count in (LIVE_WARM_UP, decisions):
        game.release()
        game.take_delays()
        observation, pressed, late = game.restart(), False, 0
        for _ in range(count):
            if observation.crashed[0]:
                observation, pressed = game.restart(), False
            stack = np.repeat(observation.pictures[0][..., None], STACK[2], axis=-1)
            agent.q_values(stack[None])
            pressed = not pressed
            observation = game.step(int(pressed), interval)
            late += game.late_frames > 0
    delays = game.take_delays()
    return LiveDelays(np.array(delays["milliseconds"]), np.array(delays["frame_times"]), late)


def live_figures(delays: LiveDelays) -> list[Figure]:
    """Statistics of live play."""
    milliseconds, count = delays.milliseconds, len(delays.milliseconds)
    return [
        Figure(f"live: picture to key, median of {count:,}", float(np.median(milliseconds)), "ms"),
        Figure("live: picture to key, 99th percentile", float(np.percentile(milliseconds, 99)), "ms"),
        Figure(
            "live: frames a second of the page", float(1000 / np.mean(np.diff(delays.frame_times))), "fps"
        ),
        Figure("live: late decisions", 100 * delays.late / count, "%"),
    ]


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


def measure(seconds: float, decisions: int, games: tuple[int, ...] = GAMES) -> Iterator[Figure | Scaling]:
    """All figures, as they are measured: each for so many seconds, live play for so many decisions."""
    tutorial = tutorial_steps_per_s(seconds)
    yield Figure("the tutorial's calls, live", tutorial, "steps/s")
    rates = []
    for count, browsers in [(count, 1) for count in games] + [(max(games), 2)]:
        scaling = environment(count, browsers, seconds)
        rates.append(scaling.steps_per_s)
        yield scaling
    yield Figure("lock-step over the tutorial's calls", max(rates) / tutorial, "times")
    yield from learner(RunSettings(), seconds)
    # In a process of its own, as it is played: nothing that the learner has left competes for the cores.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), share_cores) as player:
        yield from player.submit(live, decisions).result()
