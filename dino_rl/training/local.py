"""Playing and learning in this process: while the environments step, the agent learns."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dino_rl.agents.agent import Agent, Transition
from dino_rl.envs.task import Task
from dino_rl.errors import EnvError
from dino_rl.runs import checkpoint
from dino_rl.runs.model_file import BEST_MODEL, check_weights, save_model
from dino_rl.spec import DRAWN_SEEDS_FROM
from dino_rl.training.algorithm import Slice
from dino_rl.training.faults import FaultCount
from dino_rl.training.finite import check_observation, check_step
from dino_rl.training.statistics import EpisodeStatistics

LAST_DRAWN_SEED = 2**32 - 2**16  # environment i gets the seed drawn plus i, which must stay below 2**32


@dataclass(frozen=True)
class Decision:
    """What an agent saw and chose in one step of N environments, before they step."""

    env: gymnasium.vector.VectorEnv
    step: int
    """Environment steps so far."""
    observations: np.ndarray
    """[N, ...]."""
    values: np.ndarray
    """Q-values or probabilities, float32 [N, A]."""
    actions: np.ndarray
    """int64 [N]."""
    greedy: np.ndarray
    """bool [N], the environments that never explore."""
    infos: dict[str, Any]
    """Of the step that led to the observations: arrays [N] by name."""


class LocalAlgorithm:
    """An agent and its environments in one process (an `Algorithm`).

    Args:
        task: makes the environments.
        agent: acts and learns.
        rngs: "env" draws the environments' seeds; "explore" and "replay" are the agent's, kept here for
            checkpoints.
        pictures: the games will be asked for pictures.

    Raises:
        EnvError: the environments cannot be made.

    Attributes:
        on_decision: called with each `Decision`, before the environments step.
    """

    model_file = BEST_MODEL

    def __init__(
        self, task: Task, agent: Agent, rngs: dict[str, np.random.Generator], pictures: bool = False
    ):
        self.task = task
        self.agent = agent
        self.on_decision: list[Callable[[Decision], None]] = []
        self._rngs = rngs
        self._pictures = pictures
        config, spec = task.config, task.spec
        self._greedy = np.arange(config.num_envs) >= config.num_envs - config.greedy_envs
        self._statistics = EpisodeStatistics(config.num_envs, spec.actions, spec.info_keys)
        self._faults = FaultCount()
        self._unreported: EnvError | None = None
        self._stepper = ThreadPoolExecutor(1)
        self._env: gymnasium.vector.VectorEnv | None = None
        try:
            self._make_env()
        except EnvError as error:  # once more: a browser can die while it starts
            self._faults.add(error)
            self._make_env()
            self._unreported = error
        self._fresh = True  # the environments are to be reset
        self._observation: np.ndarray = np.empty(0)
        self._infos: dict[str, Any] = {}
        self._first = self._last = np.zeros(config.num_envs, bool)

    @property
    def updates(self) -> int:
        return self.agent.updates

    @property
    def episode_columns(self) -> tuple[str, ...]:
        return self.agent.episode_columns + self._statistics.columns

    @property
    def interval_columns(self) -> tuple[str, ...]:
        return self.agent.interval_columns

    @property
    def iteration_columns(self) -> tuple[str, ...]:
        return self.agent.iteration_columns

    # --- Playing and learning -----------------------------------------------------------------------------

    def iterate(self, step: int, progress: float) -> Slice:
        """One step of all environments, and the updates that are due.

        Raises:
            EnvError: the environments failed again and again.
            NotFiniteError: a reward, an observation or a loss is not finite.
        """
        if self._unreported:
            fault, self._unreported = self._unreported, None
            return Slice(fault=fault)
        try:
            if self._env is None:
                self._make_env()
            if self._fresh:
                self._reset()
        except EnvError as error:
            return self._fault(error)
        assert self._env is not None
        observation, first, last = self._observation, self._first, self._last
        actions, values = self.agent.act(observation, progress)
        for listen in self.on_decision:
            listen(Decision(self._env, step, observation, values, actions, self._greedy, self._infos))
        # The environments step in a thread that waits for the browser; meanwhile the agent learns.
        stepping = self._stepper.submit(self._env.step, actions)
        started = time.monotonic()
        iteration = self.agent.learn(step, progress)
        learned = time.monotonic()
        try:
            next_observation, reward, terminated, truncated, infos = stepping.result()
        except EnvError as error:
            return self._fault(error, iteration, learned - started)
        waited = time.monotonic()
        self._faults.progress()
        check_step(next_observation, reward)
        self.agent.observe(
            Transition(
                observation,
                first,
                last,
                actions,
                reward,
                terminated,
                truncated,
                life_lost=infos.get("life_lost", np.zeros(len(actions), bool)),
                values=values,
            )
        )
        self._statistics.step(actions, reward)
        ended = np.flatnonzero(terminated | truncated).tolist()
        episodes = [
            {
                "env": i,
                "greedy": int(self._greedy[i]),
                **self._statistics.episode(i, infos),
                **self.agent.episode_metrics(i),
            }
            for i in ended
        ]
        ends = [self.task.describe_end(infos, i) for i in ended if terminated[i]]
        # Next-step autoreset: after the end of an episode comes the first observation of another.
        self._observation, self._first, self._last = next_observation, last, terminated | truncated
        self._infos = infos
        self._statistics.begin(self._first, infos)
        return Slice(len(actions), episodes, iteration, learned - started, waited - learned, ends)

    def _make_env(self):
        self._env = self.task.make_training_env(self._pictures)
        self._fresh = True

    def _reset(self):
        assert self._env is not None
        self.agent.reset()
        seed = int(self._rngs["env"].integers(DRAWN_SEEDS_FROM, LAST_DRAWN_SEED))
        self._observation, self._infos = self._env.reset(seed=seed)
        check_observation(self._observation)
        self._first = np.ones(self._env.num_envs, bool)
        self._last = ~self._first
        self._statistics.begin(self._first, self._infos)
        self._fresh = False

    def _fault(self, error: EnvError, iteration: dict | None = None, learn_s: float = 0.0) -> Slice:
        """The environments failed: the next iteration makes new ones."""
        self._close_env()
        self._faults.add(error)
        return Slice(iteration=iteration, learn_s=learn_s, fault=error)

    def act_greedily(self, observations: np.ndarray) -> np.ndarray:
        return self.agent.act_greedily(observations)

    def metrics(self, progress: float) -> dict[str, float]:
        return self.agent.metrics(progress)

    # --- Saving -------------------------------------------------------------------------------------------

    def save(self, run_dir: Path, state: dict[str, Any]) -> None:
        """As `Algorithm.save`.

        Raises:
            NotFiniteError: weights are not finite. The checkpoint before stays.
        """
        save_agent(run_dir, self.agent, self._rngs, state)

    def restore(self, run_dir: Path, state: dict[str, Any]) -> None:
        restore_agent(run_dir, self.agent, self._rngs, state)

    def save_model(self, path: Path, card: dict[str, Any]) -> None:
        check_weights({"the model": self.agent.network})
        save_model(path, self.agent.network, card)

    def close(self) -> None:
        self._close_env()
        self._stepper.shutdown(wait=False)

    def _close_env(self):
        env, self._env = self._env, None
        if env is not None:
            with suppress(Exception):  # a browser that crashed cannot be closed in good order
                env.close()


def save_agent(run_dir: Path, agent: Agent, rngs: dict[str, np.random.Generator], state: dict[str, Any]):
    """Write a checkpoint of an agent and its random generators, with the `state` of its run.

    Raises:
        NotFiniteError: weights are not finite. The checkpoint before stays.
    """
    check_weights(agent.networks)
    random = {name: rng.bit_generator.state for name, rng in rngs.items()}
    checkpoint.save(run_dir, agent.networks, agent.arrays(), state | agent.counters() | {"random": random})


def restore_agent(run_dir: Path, agent: Agent, rngs: dict[str, np.random.Generator], state: dict[str, Any]):
    """Take over the checkpoint in `run_dir`, whose `state` was loaded.

    Raises:
        RunError: it is damaged, or of another configuration.
    """
    with checkpoint.reading(run_dir):
        for name, rng in rngs.items():
            rng.bit_generator.state = state["random"][name]
        agent.restore(checkpoint.load(run_dir, agent.networks, agent.max_array_bytes), state)
