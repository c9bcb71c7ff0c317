"""Games without learning, and their statistics."""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from dino_rl.training.finite import check_observation, check_step

Policy = Callable[[np.ndarray], np.ndarray]  # observations [N, ...] -> actions [N]
OnStep = Callable[[dict[int, float]], None]  # receives the scores so far of the running games, by seed
Moves = dict[int, list[int]]  # actions of games, by seed


@dataclass(frozen=True)
class Episode:
    """One game that was played to its end or to its cap."""

    seed: int
    score: float
    episode_return: float
    length: int
    """Steps."""
    capped: bool
    """Truncated, not terminated."""
    info: dict[str, float]
    """Of the last step."""
    actions: list[int]
    late: int = 0
    """Steps whose frame came later than requested; only a game under the live clock has some."""


@dataclass
class Evaluation:
    """Statistics of many games."""

    episodes: list[Episode] = field(default_factory=list)

    @property
    def scores(self) -> list[float]:
        return [episode.score for episode in self.episodes]

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    def summary(self) -> dict:
        """Statistics of the scores as plain data, for a JSON file."""
        scores = np.array(self.scores, float)
        return {
            "scores": self.scores,
            "mean": float(scores.mean()),
            "median": float(np.median(scores)),
            "max": float(scores.max()),
            "min": float(scores.min()),
            "std": float(scores.std()),
            "confidence": confidence_interval(scores),
            "capped": sum(episode.capped for episode in self.episodes),
            "games": len(self.episodes),
            "seeds": [episode.seed for episode in self.episodes],
        }


def confidence_interval(scores: np.ndarray, level: float = 0.95, resamples: int = 10_000) -> list[float]:
    """Bounds of the mean by the percentile bootstrap (Efron 1979), which assumes no distribution of the
    scores. Equal scores give equal bounds."""
    rng = np.random.default_rng(0)
    means = rng.choice(scores, (resamples, len(scores))).mean(axis=1)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2]).tolist()


def random_policy(num_actions: int, seed: int = 0) -> Policy:
    """Uniformly random actions."""
    rng = np.random.default_rng(seed)
    return lambda observations: rng.integers(num_actions, size=len(observations))


def play_episodes(
    env: gymnasium.vector.VectorEnv,
    policy: Policy,
    seeds: Iterable[int],
    on_episode: Callable[[Episode], None] = lambda episode: None,
    on_step: OnStep | None = None,
    moves: Moves | None = None,
) -> Evaluation:
    """One game for each seed, `env.num_envs` at a time.

    Args:
        env: a vector environment whose autoreset is DISABLED. The score is `info["score"]` where the
            environment reports one, else the return.
        policy: observations to actions.
        seeds: one for each game. They are drawn as games start, so the iterable may be infinite.
        on_episode: called with each game as it ends.
        on_step: called after each step.
        moves: receives the actions of each game. Those that it has already are taken again, before the policy
            is asked: a game that was interrupted goes on, if equal seeds and actions give equal games.

    Raises:
        NotFiniteError: an observation or a reward is not finite.
    """
    num_envs = env.num_envs
    waiting = iter(seeds)
    playing: list[int | None] = [next(waiting, None) for _ in range(num_envs)]
    returns = np.zeros(num_envs)
    late = np.zeros(num_envs, int)
    length = np.zeros(num_envs, int)
    moves = {} if moves is None else moves
    result: dict[int, Episode] = {}
    observations, infos = env.reset(seed=[seed or 0 for seed in playing])  # type: ignore[arg-type]
    check_observation(observations)
    while any(seed is not None for seed in playing):
        actions = _choose(policy, observations, playing, length, moves)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        check_step(observations, rewards)
        returns += rewards
        length += 1
        late += infos.get("late_frames", np.zeros(num_envs)) > 0
        if on_step:
            scores = infos.get("score", returns)
            on_step({seed: float(scores[i]) for i, seed in enumerate(playing) if seed is not None})
        over = terminated | truncated
        if not over.any():
            continue
        next_seeds = []
        for i in range(num_envs):
            seed = playing[i]
            if over[i] and seed is not None:
                last = {
                    name: float(values[i])
                    for name, values in infos.items()
                    if not name.startswith("_") and np.ndim(values) == 1
                }
                result[seed] = Episode(
                    seed=seed,
                    score=last.get("score", float(returns[i])),
                    episode_return=float(returns[i]),
                    length=int(length[i]),
                    capped=bool(truncated[i]),
                    info=last,
                    actions=moves[seed],
                    late=int(late[i]),
                )
                on_episode(result[seed])
                playing[i] = next(waiting, None)
            next_seeds.append(playing[i] or 0)
        returns[over] = 0.0
        late[over] = 0
        length[over] = 0
        if any(seed is not None for seed in playing):
            observations, infos = env.reset(
                seed=next_seeds,  # type: ignore[arg-type]
                options={"reset_mask": over},
            )
    return Evaluation([result[seed] for seed in sorted(result)])


def _choose(
    policy: Policy, observations: np.ndarray, playing: list[int | None], length: np.ndarray, moves: Moves
) -> np.ndarray:
    """The next actions: those in `moves` of games that it knows further than they are, and of the others the
    policy's, which it receives."""
    seeds = {i: seed for i, seed in enumerate(playing) if seed is not None}
    known = {i: moves[seed][length[i]] for i, seed in seeds.items() if length[i] < len(moves.get(seed, ()))}
    actions = np.zeros(len(playing), int) if len(known) == len(seeds) else np.array(policy(observations))
    for i, seed in seeds.items():
        if i in known:
            actions[i] = known[i]
        else:
            moves.setdefault(seed, []).append(int(actions[i]))
    return actions


def play_in_parallel(
    envs: Sequence[gymnasium.vector.VectorEnv],
    policy: Policy,
    seeds: Sequence[int],
    on_episode: Callable[[Episode], None] = lambda episode: None,
    on_step: OnStep | None = None,
    without: Collection[int] = (),
    moves: Moves | None = None,
) -> Evaluation:
    """As `play_episodes`, in several environments at once, each in its own thread: while one waits for its
    browser, the policy, which must be thread-safe, acts for another. Which environment plays a seed is fixed,
    so equal calls play equal games. `on_episode` and `on_step` are called in these threads. The seeds in
    `without` are left out.
    """
    stop = threading.Event()

    def step(scores: dict[int, float]) -> None:
        if stop.is_set():
            raise Stopped
        if on_step:
            on_step(scores)

    with ThreadPoolExecutor(len(envs)) as pool:
        running = [
            pool.submit(play_episodes, env, policy, left, on_episode, step, moves)
            for env, left in ((env, _left(seeds[i :: len(envs)], without)) for i, env in enumerate(envs))
            if left
        ]
        try:
            for future in as_completed(running):
                future.result()  # the first error ends all of them
        except BaseException:
            stop.set()
            raise
    episodes = [episode for future in running for episode in future.result().episodes]
    return Evaluation(sorted(episodes, key=lambda episode: episode.seed))


def _left(seeds: Sequence[int], without: Collection[int]) -> Sequence[int]:
    return [seed for seed in seeds if seed not in without] if without else seeds


class Stopped(Exception):
    """Raised after a step to end the games: another environment failed, or the user interrupted."""
