"""Numbers of a run: of the episode that each environment plays, and of the time since the last report."""

import time
from collections.abc import Collection

import numpy as np


class EpisodeStatistics:
    """Return, length, score and actions of the running episode of each environment.

    Gymnasium's `RecordEpisodeStatistics` knows return, length and time only; a run logs how often each action
    was chosen and the speed of the game, too.

    Args:
        num_envs: N.
        actions: a name for each action.
        info_keys: keys of `info` whose values at an episode's start and end are kept.
    """

    def __init__(self, num_envs: int, actions: tuple[str, ...], info_keys: tuple[str, ...]):
        self._names = actions
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)
        self._actions = np.zeros((num_envs, len(actions)), int)
        self._starts = {name: np.zeros(num_envs) for name in info_keys}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what `episode` returns, beside score, return and length."""
        return (*(f"{edge}_{name}" for name in self._starts for edge in ("start", "end")), *self._names)

    def begin(self, first: np.ndarray, infos: dict):
        """Episodes begin in some environments, bool [N]; `infos` are those of their first observations."""
        for array in (self._returns, self._lengths, self._actions):
            array[first] = 0
        for name, starts in self._starts.items():
            starts[first] = infos[name][first]

    def step(self, actions: np.ndarray, rewards: np.ndarray):
        """One step of all environments: actions int64 [N], rewards float64 [N]."""
        self._returns += rewards
        self._lengths += 1
        self._actions[np.arange(len(actions)), actions] += 1

    def episode(self, i: int, infos: dict) -> dict[str, float]:
        """The episode that has just ended in environment `i`."""
        score = float(infos["score"][i]) if "score" in infos else float(self._returns[i])
        row = {"score": score, "return": float(self._returns[i]), "length": int(self._lengths[i])}
        for name, starts in self._starts.items():
            row |= {f"start_{name}": float(starts[i]), f"end_{name}": float(infos[name][i])}
        return row | dict(zip(self._names, self._actions[i].tolist(), strict=True))


class IntervalClock:
    """Rates and shares of time since the last report.

    Args:
        step, updates: of the run at its start; above zero in one that was resumed.
    """

    def __init__(self, step: int, updates: int):
        self.step, self._updates = step, updates
        self._start()

    def _start(self):
        self._since = time.monotonic()
        self._learn_s = self._wait_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the last report."""
        return time.monotonic() - self._since

    def add(self, learn_s: float, wait_s: float):
        """Time that was spent."""
        self._learn_s += learn_s
        self._wait_s += wait_s

    def report(self, step: int, updates: int) -> dict[str, float]:
        """What happened since the last report; the next one counts from here."""
        elapsed = self.elapsed_s
        row = {
            "steps_per_s": (step - self.step) / elapsed,
            "updates_per_s": (updates - self._updates) / elapsed,
            "env_wait_share": self._wait_s / elapsed,
            "learn_share": self._learn_s / elapsed,
        }
        self.step, self._updates = step, updates
        self._start()
        return row


def mean(values: Collection[float]) -> float:
    """NaN of no values."""
    return float(np.mean(list(values))) if values else float("nan")
