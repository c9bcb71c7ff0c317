"""What is counted while a run goes on: for each running episode, and since the last report."""

import time
from contextlib import contextmanager

import numpy as np


class EpisodeStatistics:
    """What the running episode of each environment has done so far.

    Args:
        num_envs: N.
        actions: a name for each.
        watched: fields of `info` whose values at an episode's start and end are kept.
    """

    def __init__(self, num_envs: int, actions: tuple[str, ...], watched: tuple[str, ...]):
        self._names = actions
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)
        self._actions = np.zeros((num_envs, len(actions)), int)
        self._starts = {name: np.zeros(num_envs) for name in watched}

    @property
    def columns(self) -> tuple[str, ...]:
        """What `episode` says beside the common columns."""
        return (*(f"{edge}_{name}" for name in self._starts for edge in ("start", "end")), *self._names)

    def begin(self, first: np.ndarray, infos: dict):
        for array in (self._returns, self._lengths, self._actions):
            array[first] = 0
        for name, starts in self._starts.items():
            starts[first] = infos[name][first]

    def step(self, actions: np.ndarray, rewards: np.ndarray):
        self._returns += rewards
        self._lengths += 1
        self._actions[np.arange(len(actions)), actions] += 1

    def episode(self, i: int, infos: dict) -> dict:
        score = float(infos["score"][i]) if "score" in infos else float(self._returns[i])
        row = {"score": score, "return": float(self._returns[i]), "length": int(self._lengths[i])}
        for name, starts in self._starts.items():
            row |= {f"start_{name}": float(starts[i]), f"end_{name}": float(infos[name][i])}
        return row | dict(zip(self._names, self._actions[i].tolist(), strict=True))


class IntervalStatistics:
    """Where the time went since the last report.

    Args:
        step, updates: where the run stands now; a resumed one begins above zero.
    """

    def __init__(self, step: int, updates: int):
        self._spent = {"learn": 0.0, "wait": 0.0}
        self.step, self._updates = step, updates
        self._begin()

    def _begin(self):
        self._since = time.monotonic()
        self._spent = dict.fromkeys(self._spent, 0.0)

    @property
    def since_report(self) -> float:
        return time.monotonic() - self._since

    @contextmanager
    def timed(self, what: str):
        started = time.monotonic()
        yield
        self._spent[what] += time.monotonic() - started

    def report(self, step: int, updates: int) -> dict:
        elapsed = self.since_report
        row = {
            "steps_per_s": (step - self.step) / elapsed,
            "updates_per_s": (updates - self._updates) / elapsed,
            "env_wait_share": self._spent["wait"] / elapsed,
            "learn_share": self._spent["learn"] / elapsed,
        }
        self.step, self._updates = step, updates
        self._begin()
        return row
