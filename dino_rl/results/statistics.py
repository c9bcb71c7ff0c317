"""What is counted while a run goes on: for each running episode, and since the last report."""

import time
from contextlib import contextmanager

import numpy as np

from dino_rl.envs.dino import ACTIONS


class EpisodeStatistics:
    """What the running episode of each environment has done so far."""

    def __init__(self, num_envs: int, num_actions: int):
        self.returns = np.zeros(num_envs)
        self.lengths = np.zeros(num_envs, int)
        self.q_sums = np.zeros(num_envs)
        self.actions = np.zeros((num_envs, num_actions), int)
        self.start_speeds = np.zeros(num_envs)

    def begin(self, first: np.ndarray, infos: dict):
        for array in (self.returns, self.lengths, self.q_sums, self.actions):
            array[first] = 0
        if "speed" in infos:
            self.start_speeds[first] = infos["speed"][first]

    def step(self, actions: np.ndarray, rewards: np.ndarray, values: np.ndarray):
        self.returns += rewards
        self.lengths += 1
        self.q_sums += values.max(axis=1)
        self.actions[np.arange(len(actions)), actions] += 1

    def episode(self, i: int, infos: dict) -> dict:
        # A two-action agent never ducks.
        taken = dict.fromkeys(ACTIONS, 0) | dict(zip(ACTIONS, self.actions[i].tolist(), strict=False))
        return {
            "score": float(infos["score"][i]) if "score" in infos else float(self.returns[i]),
            "return": float(self.returns[i]),
            "length": int(self.lengths[i]),
            "start_speed": float(self.start_speeds[i]),
            "end_speed": float(infos["speed"][i]) if "speed" in infos else 0.0,
            "q_mean": float(self.q_sums[i] / max(1, self.lengths[i])),
            **taken,
        }


class IntervalStatistics:
    """Where the time goes, and what was learned, since the last report.

    Args:
        step, updates: where the run stands now; a resumed one begins above zero.
    """

    def __init__(self, step: int, updates: int):
        self._spent = {"learn": 0.0, "wait": 0.0}
        self.step, self._updates = step, updates
        self._begin()

    def _begin(self):
        self._since = time.monotonic()
        self.losses: list[float] = []
        self.qs: list[float] = []
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
