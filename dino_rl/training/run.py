"""The training run: a loop over an algorithm, from the first step to the end of what was asked for."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from dino_rl.errors import EnvError, NotFiniteError
from dino_rl.training.algorithm import Algorithm, Slice
from dino_rl.training.budget import Budget
from dino_rl.training.statistics import mean

RETURNS = 100  # the last episodes, whose mean return counts as the run's


@dataclass(frozen=True)
class RunConfig:
    """How long a run is, and how often it is measured and saved."""

    steps: Annotated[int, Ge(1)] | None = None
    """Environment steps, of all environments together; null: as many as `minutes` have room for, by a rate
    that is measured at the start."""
    minutes: Annotated[float, Gt(0)] | None = 60.0
    """Time limit; null: none. The run ends at its last step or at this time, whichever comes first."""
    calibration_steps: Annotated[int, Ge(0)] = 8_000
    """Environment steps before the schedules begin to move, a quarter of the run at most. A run without
    `steps` measures its rate in their second half."""
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    """Of everything random."""
    validations: Annotated[int, Ge(0)] = 8
    """Validations, evenly over the run: greedy games on held-out seeds, which choose the best model."""
    validation_games: Annotated[int, Ge(1)] = 20
    """Games of a validation."""
    validation_max_score: Annotated[int, Ge(1)] | None = None
    """Where the Dino's validation games end in a long run; in a shorter one they end earlier, at a 600th of
    its steps, but not before 25 points."""
    validation_share: Annotated[float, Gt(0)] = 0.6
    """Environment steps of validations for each step of training, at most; they take about a quarter of the
    time of a training step."""
    checkpoint_minutes: Annotated[float, Gt(0)] = 2.0
    """Time from one checkpoint to the next; more where saving would take over a twentieth of the run."""
    stop_return: float | None = None
    """Stop when the mean return of the last 100 episodes reaches this."""
    tensorboard: bool = True
    """Write a TensorBoard event file in the run's directory."""
    report: bool = True
    """Write a page about the run at its end: report.html in its directory."""


class Callback:
    """Receives the events of a run. Override what you need; `callbacks.py` has those of every run."""

    def on_start(self, run: "Run") -> None:
        """The run begins, or continues."""

    def on_slice(self, run: "Run", part: Slice) -> None:
        """The algorithm played and learned for a moment; its episodes were counted."""

    def on_episode(self, run: "Run", row: dict[str, Any]) -> None:
        """An episode ended; a row of episodes.csv."""

    def on_interval(self, run: "Run", row: dict[str, Any]) -> None:
        """Some seconds have passed; a row of intervals.csv."""

    def on_iteration(self, run: "Run", row: dict[str, Any]) -> None:
        """An iteration of the algorithm ended; a row of iterations.csv, and its returns."""

    def on_validation(self, run: "Run", row: dict[str, Any]) -> None:
        """The agent was measured; a row of validations.csv, `episodes`, its games, and `clip`, the end of the
        best game (None where the agent sees no frames). `best`: better than ever before in the run."""

    def on_fault(self, run: "Run", row: dict[str, Any]) -> None:
        """Environments stopped working and are made anew; a row of faults.csv."""

    def on_end(self, run: "Run") -> None:
        """The run reached its end, or was stopped."""

    def on_failure(self, run: "Run") -> None:
        """The run cannot go on: its environments fail again and again, or a number is not finite."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, JSON-ready; names are shared by all callbacks."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint kept."""

    def close(self) -> None:
        """Release what was opened."""


class Run:
    """One training run. It asks its algorithm for a slice of playing and learning, and hands what happened
    to its callbacks, in their order.

    Args:
        config: the length of the run.
        algorithm: plays and learns.
        callbacks: receive what happens.
        state: of a checkpoint to continue from, if there is one; the algorithm has been restored already.

    Raises:
        KeyError, TypeError, ValueError: the state is damaged.

    Attributes:
        step: environment steps so far.
        budget: environment steps in all.
        episodes: how many have ended.
        returns: of the last 100 episodes.
        stopped: the user asked for the end of the run.
        solved_with: the mean return that reached the target, if one did.
    """

    def __init__(
        self,
        config: RunConfig,
        algorithm: Algorithm,
        callbacks: Sequence[Callback],
        state: dict[str, Any] | None = None,
    ):
        self.config = config
        self.algorithm = algorithm
        self.callbacks = list(callbacks)
        self.step = self.episodes = 0
        self.returns: deque[float] = deque(maxlen=RETURNS)
        self.stopped = False
        self.solved_with: float | None = None
        self._seconds_before = 0.0
        self.budget = Budget(config.steps, config.minutes, config.calibration_steps, state)
        if state is not None:
            self.step, self.episodes = int(state["step"]), int(state["episodes"])
            self._seconds_before = float(state["seconds"])
            for callback in self.callbacks:
                callback.restore(state)
        self._started = time.monotonic()

    # --- Where the run is ---------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Time spent so far, before a resumption, too."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def minutes(self) -> float:
        return self.seconds / 60

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end; all schedules follow it, and it follows the environment steps."""
        return self.budget.progress(self.step)

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the time to the end of the run; None while there is none."""
        ends = []
        if self.config.minutes is not None:
            ends.append(60 * self.config.minutes - self.seconds)
        if self.budget.total is not None and self.step:
            ends.append((self.budget.total - self.step) * self.seconds / self.step)
        return max(0.0, min(ends)) if ends else None

    @property
    def return_mean(self) -> float:
        """Of the last 100 episodes; NaN before the first."""
        return mean(self.returns)

    @property
    def finished(self) -> bool:
        return self.stopped or self.solved_with is not None or self.progress >= 1.0 or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """The time limit has passed."""
        return self.config.minutes is not None and self.minutes >= self.config.minutes

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the run and its callbacks: JSON-ready numbers."""
        state: dict[str, Any] = {"step": self.step, "episodes": self.episodes, "seconds": self.seconds}
        state |= self.budget.state()
        for callback in self.callbacks:
            state |= callback.state()
        return state

    # --- The loop -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end.

        Raises:
            EnvError: the environments failed again and again; a checkpoint was saved.
            NotFiniteError: a loss, a weight, a reward or an observation is not finite. A checkpoint was
                saved, unless the weights are not finite.
        """
        self.emit("on_start")
        try:
            while not self.finished:
                part = self.algorithm.iterate(self.step, self.progress)
                self._count(part)
                self.emit("on_slice", part)
            self.emit("on_end")
        except (EnvError, NotFiniteError):
            self.emit("on_failure")
            raise

    def report_fault(self, kind: str, error: EnvError) -> None:
        """Tell the callbacks that environments stopped working.

        Args:
            kind: what they were for: "training" or "validation".
            error: what happened.
        """
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self.emit("on_fault", {"time": now, "step": self.step, "kind": kind, "message": str(error)})

    def _count(self, part: Slice):
        if part.fault:
            self.report_fault("training", part.fault)
        self.step += part.steps
        self.budget.measure(self.step, self.seconds)
        for episode in part.episodes:
            self.episodes += 1
            self.returns.append(episode["return"])
            row = {"episode": self.episodes, "step": self.step, "minutes": self.minutes, **episode}
            self.emit("on_episode", row)
        if part.iteration:
            self.emit("on_iteration", {"step": self.step, "minutes": self.minutes, **part.iteration})

    def emit(self, event: str, *details: Any) -> None:
        """Call a method of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)

    def close(self) -> None:
        """End the environments, and close what the callbacks opened."""
        self.algorithm.close()
        for callback in self.callbacks:
            callback.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_):
        self.close()
