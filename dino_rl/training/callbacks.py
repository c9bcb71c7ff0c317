"""What receives the events of a run: validation, checkpoints, tables. A new one is a class here or anywhere,
and one line in `dino_rl/experiment.py`."""

import math
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.envs.task import Task
from dino_rl.errors import EnvError
from dino_rl.runs.csv_log import RunLog
from dino_rl.training.algorithm import Slice
from dino_rl.training.local import Decision, LocalAlgorithm
from dino_rl.training.rollout import Evaluation, Stopped, play_in_parallel
from dino_rl.training.run import Callback, Run, RunConfig
from dino_rl.training.statistics import IntervalClock, mean

INTERVAL_S = 10.0  # from one row of intervals.csv to the next
# Validation games have explicit seeds, far from the test seeds, which start at 0.
VALIDATION_SEED = 1_000_000
VALIDATION_ATTEMPTS = 5  # where the environments fail
VALIDATION_STEPS_PER_POINT = 150  # environment steps of a run for each point where validation games end


class Intervals(Callback):
    """Emits `on_interval` every `INTERVAL_S` seconds, and at the end."""

    def on_start(self, run: Run) -> None:
        self._clock = IntervalClock(run.step, run.algorithm.updates)
        self._scores: deque[float] = deque(maxlen=100)  # of exploring games
        self._greedy_scores: deque[float] = deque(maxlen=40)

    def on_episode(self, run: Run, row: dict[str, Any]) -> None:
        (self._greedy_scores if row["greedy"] else self._scores).append(row["score"])

    def on_slice(self, run: Run, part: Slice) -> None:
        self._clock.add(part.learn_s, part.wait_s)
        if self._clock.elapsed_s > INTERVAL_S:
            self._emit(run)

    def on_end(self, run: Run) -> None:
        if run.step > self._clock.step:  # even the shortest run has a row
            self._emit(run)

    def _emit(self, run: Run):
        progress, updates = run.progress, run.algorithm.updates
        row = {
            "step": run.step,
            "minutes": run.minutes,
            "updates": updates,
            "episodes": run.episodes,
            "progress": progress,
            "score_mean": mean(self._scores),
            "greedy_score_mean": mean(self._greedy_scores),
            **run.algorithm.metrics(progress),
            **self._clock.report(run.step, updates),
        }
        run.emit("on_interval", row)


class Validation(Callback):
    """Measures the agent with greedy games on held-out seeds, evenly over the run, but never so often that it
    takes much of its time. What decides are steps, so that equal runs are validated equally. Emits
    `on_validation`."""

    def __init__(self, task: Task, config: RunConfig):
        self._task = task
        self._config = config
        self._best_mean = -math.inf
        self._done = 0
        self._not_before = 0  # environment steps
        self._validated_step: int | None = None

    def max_score(self, run: Run) -> int | None:
        """Where games end: earlier in short runs, which the games of good agents would fill."""
        limit, total = self._config.validation_max_score, run.budget.total
        if limit is None or total is None:
            return limit
        return min(limit, math.ceil(total / VALIDATION_STEPS_PER_POINT))

    def on_slice(self, run: Run, part: Slice) -> None:
        due = self._done < int(run.progress * self._config.validations)
        if due and run.step >= self._not_before:
            self._validate(run)

    def on_end(self, run: Run) -> None:
        due = self._done < self._config.validations and not run.stopped
        if due and self._validated_step != run.step:  # the last one may have lasted to the end
            self._validate(run)

    def _validate(self, run: Run):
        self._done = max(self._done + 1, int(run.progress * self._config.validations))
        evaluation = self._play(run)
        if evaluation is None:
            return
        played = sum(episode.length for episode in evaluation.episodes)
        self._not_before = run.step + math.ceil(played / self._config.validation_share)
        self._validated_step = run.step
        summary = evaluation.summary()
        best = evaluation.mean >= self._best_mean
        if best:
            self._best_mean = evaluation.mean
        names = ("mean", "median", "max", "min", "capped", "games")
        row = {"step": run.step, "minutes": run.minutes, **{name: summary[name] for name in names}}
        run.emit("on_validation", row | {"best": int(best)})

    def _play(self, run: Run) -> Evaluation | None:
        """The games; None if the run was stopped meanwhile."""
        games = self._config.validation_games
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + games)

        def policy(observations: np.ndarray) -> np.ndarray:
            if run.stopped:
                raise Stopped
            return run.algorithm.act_greedily(observations)

        for attempt in range(1, VALIDATION_ATTEMPTS + 1):
            try:
                with ExitStack() as opened:
                    envs = [
                        opened.enter_context(closing(env))
                        for env in self._task.make_validation_envs(games, self.max_score(run))
                    ]
                    return play_in_parallel(envs, policy, seeds)
            except EnvError:
                if attempt == VALIDATION_ATTEMPTS:
                    raise
            except Stopped:
                return None
        return None

    def state(self) -> dict[str, Any]:
        return {
            "best_mean": self._best_mean,
            "validations_done": self._done,
            "next_validation": self._not_before,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._best_mean, self._done = float(state["best_mean"]), int(state["validations_done"])
        self._not_before = int(state.get("next_validation", 0))  # version 0.1.0 has none


class StopAtReturn(Callback):
    """Ends the run when the mean return of the last 100 episodes reaches the target."""

    def __init__(self, target: float):
        self._target = target

    def on_slice(self, run: Run, part: Slice) -> None:
        if len(run.returns) == run.returns.maxlen and run.return_mean >= self._target:
            run.solved_with = run.return_mean


class CsvLog(Callback):
    """Writes episodes.csv, intervals.csv, validations.csv, and iterations.csv where there are iterations."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._log: RunLog | None = None

    def on_start(self, run: Run) -> None:
        algorithm = run.algorithm
        self._log = RunLog(
            self._run_dir,
            algorithm.episode_columns,
            algorithm.interval_columns,
            algorithm.iteration_columns,
            run.step,
        )

    @property
    def _open_log(self) -> RunLog:
        assert self._log is not None, "the run has not started"
        return self._log

    def on_episode(self, run: Run, row: dict[str, Any]) -> None:
        self._open_log.episodes.add(row)

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._open_log.intervals.add(row)

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        table = self._open_log.iterations
        table.add({name: row[name] for name in table.columns})

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._open_log.validations.add(row)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class KeepBest(Callback):
    """Saves the model of the best validation, and its card.

    Args:
        run_dir: of the run.
        make_card: the card, from facts about the training and about the validation.
        validation: measures the agent.
    """

    def __init__(
        self,
        run_dir: Path,
        make_card: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
        validation: Validation,
    ):
        self._run_dir = run_dir
        self._make_card = make_card
        self._validation = validation

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        if not row["best"]:
            return
        training = {
            "steps": run.step,
            "total_steps": run.budget.total,
            "updates": run.algorithm.updates,
            "minutes": round(run.minutes, 1),
            "seed": run.config.seed,
        }
        validation = {**row, "first_seed": VALIDATION_SEED, "max_score": self._validation.max_score(run)}
        run.algorithm.save_model(self._run_dir, self._make_card(training, validation))


class Checkpoints(Callback):
    """Saves the run at even times, when its environments failed, and at its end."""

    def __init__(self, run_dir: Path, config: RunConfig):
        self._run_dir = run_dir
        self._period_s = 60 * config.checkpoint_minutes

    def on_start(self, run: Run) -> None:
        self._due_s = run.seconds + self._period_s

    def on_slice(self, run: Run, part: Slice) -> None:
        # After a fault, because new environments may not start.
        if part.fault or run.seconds > self._due_s:
            self.save(run)

    def on_end(self, run: Run) -> None:
        self.save(run)

    def save(self, run: Run) -> None:
        run.algorithm.save(self._run_dir, run.state())
        self._due_s = run.seconds + self._period_s


class Annotate(Callback):
    """Shows in the window of the games what the agent computes for the last one."""

    def __init__(self, task: Task):
        self._task = task

    def on_start(self, run: Run) -> None:
        if isinstance(run.algorithm, LocalAlgorithm):
            run.algorithm.on_decision.append(self._show)

    def _show(self, decision: Decision):
        last = len(decision.actions) - 1
        title = f"step {decision.step:,}{', greedy' * bool(decision.greedy[last])}"
        self._task.annotate(decision.env, last, decision.values[last], int(decision.actions[last]), title)


class PlotIterations(Callback):
    """Draws the iterations of the cross-entropy method as they end."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._chart: Any = None

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        if self._chart is None:
            from dino_rl.runs.iteration_plot import IterationChart  # matplotlib takes a second to load

            self._chart = IterationChart(self._run_dir)
        self._chart.add(row)

    def close(self) -> None:
        if self._chart is not None:
            self._chart.close()
