"""Play without learning, and say how it went."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import gymnasium
import numpy as np

Policy = Callable[[np.ndarray], np.ndarray]  # observations [N, ...] -> actions [N]


@dataclass(frozen=True)
class Game:
    """One game that was played to its end or to its cap."""

    seed: int
    score: float
    episode_return: float
    length: int  # steps
    capped: bool
    info: dict[str, float]  # the last step's
    actions: list[int]
    late: int = 0  # steps whose picture came later than was asked for; only a live game's clock does that


@dataclass
class Evaluation:
    """Statistics of many games."""

    games: list[Game] = field(default_factory=list)

    @property
    def scores(self) -> list[float]:
        return [game.score for game in self.games]

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    def summary(self) -> dict:
        """As plain data: the part of the JSON that is about scores."""
        scores = np.array(self.scores, float)
        return {
            "scores": self.scores,
            "mean": float(scores.mean()),
            "median": float(np.median(scores)),
            "max": float(scores.max()),
            "min": float(scores.min()),
            "std": float(scores.std()),
            "confidence": confidence_interval(scores),
            "capped": sum(game.capped for game in self.games),
            "games": len(self.games),
            "seeds": [game.seed for game in self.games],
        }


def confidence_interval(scores: np.ndarray, share: float = 0.95, resamples: int = 10_000) -> list[float]:
    """Bounds of the mean, by the percentile bootstrap (Efron 1979), which asks nothing of the scores'
    distribution. Equal scores give equal bounds."""
    rng = np.random.default_rng(0)
    means = rng.choice(scores, (resamples, len(scores))).mean(axis=1)
    return np.quantile(means, [(1 - share) / 2, (1 + share) / 2]).tolist()


def random_policy(num_actions: int, seed: int = 0) -> Policy:
    """One that knows nothing: all actions alike."""
    rng = np.random.default_rng(seed)
    return lambda observations: rng.integers(num_actions, size=len(observations))


def play_games(
    env: gymnasium.vector.VectorEnv,
    policy: Policy,
    seeds: Iterable[int],
    on_game: Callable[[Game], None] = lambda game: None,
) -> Evaluation:
    """One game for each seed, `env.num_envs` at a time.

    Args:
        env: a vector environment whose autoreset is DISABLED. The score is `info["score"]` where there is
            one, else the return.
        policy: observations to actions.
        seeds: one for each game; taken as they are needed, so that there may be no end of them.
        on_game: told of each game as it ends.
    """
    lanes = env.num_envs
    waiting = iter(seeds)
    playing: list[int | None] = [next(waiting, None) for _ in range(lanes)]
    returns = np.zeros(lanes)
    late = np.zeros(lanes, int)
    taken: list[list[int]] = [[] for _ in range(lanes)]
    result: dict[int, Game] = {}
    observations, infos = env.reset(seed=[seed or 0 for seed in playing])  # type: ignore[arg-type]
    while any(seed is not None for seed in playing):
        actions = policy(observations)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        returns += rewards
        late += infos.get("late_frames", np.zeros(lanes)) > 0
        for lane, action in enumerate(actions.tolist()):
            taken[lane].append(action)
        over = terminated | truncated
        if not over.any():
            continue
        next_seeds = []
        for lane in range(lanes):
            seed = playing[lane]
            if over[lane] and seed is not None:
                last = {
                    name: float(values[lane])
                    for name, values in infos.items()
                    if not name.startswith("_") and np.ndim(values) == 1
                }
                result[seed] = Game(
                    seed,
                    last.get("score", float(returns[lane])),
                    float(returns[lane]),
                    len(taken[lane]),
                    bool(truncated[lane]),
                    last,
                    taken[lane],
                    int(late[lane]),
                )
                on_game(result[seed])
                playing[lane] = next(waiting, None)
            next_seeds.append(playing[lane] or 0)
        returns[over] = 0.0
        late[over] = 0
        for lane in np.flatnonzero(over).tolist():
            taken[lane] = []
        if any(seed is not None for seed in playing):
            observations, infos = env.reset(
                seed=next_seeds,  # type: ignore[arg-type]
                options={"reset_mask": over},
            )
    return Evaluation([result[seed] for seed in sorted(result)])


def play_side_by_side(
    envs: Sequence[gymnasium.vector.VectorEnv],
    policy: Policy,
    seeds: Sequence[int],
    on_game: Callable[[Game], None] = lambda game: None,
) -> Evaluation:
    """As `play_games`, in several environments at once, a thread for each: while one waits for its browser,
    the policy, which must bear it, thinks for another. Which of them plays a seed is fixed, so that equal
    calls play equal games.
    """
    stop = threading.Event()

    def act(observations: np.ndarray) -> np.ndarray:
        if stop.is_set():
            raise Stopped
        return policy(observations)

    with ThreadPoolExecutor(len(envs)) as pool:
        running = [
            pool.submit(play_games, env, act, seeds[i :: len(envs)], on_game) for i, env in enumerate(envs)
        ]
        try:
            for future in as_completed(running):
                future.result()  # the first error ends them all
        except BaseException:
            stop.set()
            raise
    games = [game for future in running for game in future.result().games]
    return Evaluation(sorted(games, key=lambda game: game.seed))


class Stopped(Exception):
    """Raised by a policy to end its games: another failed, or the user has had enough."""
