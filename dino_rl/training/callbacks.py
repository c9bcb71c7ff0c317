"""What receives the events of a run: validation, checkpoints, tables. A new one is a class here or anywhere,
and one line in `dino_rl/experiment.py`."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium

from dino_rl.envs.task import Task
from dino_rl.errors import NotFiniteError
from dino_rl.runs.clip import Clip
from dino_rl.runs.csv_log import VALIDATION_COLUMNS, RunLog
from dino_rl.runs.run_directory import BEST_GAME
from dino_rl.training.algorithm import Slice
from dino_rl.training.clips import LastFrames
from dino_rl.training.faults import ReplaceableEnvs
from dino_rl.training.rollout import Evaluation, Stopped
from dino_rl.training.run import Callback, Run, RunConfig
from dino_rl.training.statistics import IntervalClock, mean

INTERVAL_S = 10.0  # from one row of intervals.csv to the next
# Validation games have explicit seeds, far from the test seeds, which start at 0.
VALIDATION_SEED = 1_000_000
VALIDATION_STEPS_PER_POINT = 600  # environment steps of a run for each point where validation games end
SHORTEST_VALIDATION = 25  # points: some seconds, in which a game has obstacles

SAVING_SHARE = 0.05  # of the time of a run, at most

log = logging.getLogger(__name__)


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
        self._clips: dict[int, Clip] = {}  # of the last validation, by seed
        self._envs: ReplaceableEnvs | None = None  # kept for the next: browsers take seconds to start
        self._opened: list[gymnasium.vector.VectorEnv] = []  # those, and any that failed in this validation

    def max_score(self, run: Run) -> int | None:
        """Where games end: earlier in short runs, which the games of good agents would fill."""
        limit, total = self._config.validation_max_score, run.budget.total
        if limit is None or total is None:
            return limit
        return min(limit, max(SHORTEST_VALIDATION, math.ceil(total / VALIDATION_STEPS_PER_POINT)))

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
        best_game = max(evaluation.episodes, key=lambda episode: episode.score)
        details = {"clip": self._clips.pop(best_game.seed, None), "episodes": evaluation.episodes}
        run.emit("on_validation", row | {"best": int(best), **details})
        self._clips.clear()

    def _play(self, run: Run) -> Evaluation | None:
        """The games; None if the run was stopped meanwhile."""
        games = self._config.validation_games
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + games)

        def make() -> Iterator[gymnasium.vector.VectorEnv]:
            for env in self._task.make_validation_envs(games, self.max_score(run)):
                self._opened.append(LastFrames(env) if self._task.spec.observation.is_image else env)
                yield self._opened[-1]

        def on_step(scores: dict[int, float]) -> None:
            if run.stopped:
                raise Stopped

        try:
            if self._envs is None:
                # Training plays in environments of the same kind: they can be made.
                self._envs = ReplaceableEnvs(
                    make,
                    lambda error: run.report_fault("validation", error),
                    has_worked=True,
                    repeatable=self._task.repeatable,
                )
            evaluation = self._envs.play(run.algorithm.act_greedily, seeds, on_step=on_step)
        except Stopped:
            return None
        for env in self._opened:
            if isinstance(env, LastFrames):
                self._clips = env.clips | self._clips
                env.clips = {}
        self._opened = list(self._envs.envs)
        return evaluation

    def close(self) -> None:
        if self._envs is not None:
            self._envs.close()

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
    """Writes episodes.csv, intervals.csv, validations.csv and validation_games.csv, and where there are some,
    iterations.csv and faults.csv.

    Args:
        run_dir: of the run.
        ending_keys: of a validation game's last `info`, which are logged.
    """

    def __init__(self, run_dir: Path, ending_keys: tuple[str, ...] = ()):
        self._run_dir = run_dir
        self._ending_keys = ending_keys
        self._log: RunLog | None = None

    def on_start(self, run: Run) -> None:
        algorithm = run.algorithm
        self._log = RunLog(
            self._run_dir,
            algorithm.episode_columns,
            algorithm.interval_columns,
            algorithm.iteration_columns,
            self._ending_keys,
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
        table = self._open_log.validations
        table.add({name: row[name] for name in table.columns})
        for game in row["episodes"]:
            facts = {
                "seed": game.seed,
                "score": game.score,
                "length": game.length,
                "capped": int(game.capped),
            }
            ending = {name: game.info.get(name) for name in self._ending_keys}
            self._open_log.games.add({"step": row["step"], "minutes": row["minutes"], **facts, **ending})

    def on_fault(self, run: Run, row: dict[str, Any]) -> None:
        self._open_log.faults.add(row)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class KeepBest(Callback):
    """Saves the model of the best validation, its card, and the end of its best game.

    Args:
        run_dir: of the run.
        make_card: the card, from the run and facts about the validation.
        validation: measures the agent.
    """

    def __init__(
        self,
        run_dir: Path,
        make_card: Callable[..., dict[str, Any]],
        validation: Validation,
    ):
        self._run_dir = run_dir
        self._make_card = make_card
        self._validation = validation

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        if not row["best"]:
            return
        validation = {
            **{name: row[name] for name in VALIDATION_COLUMNS},
            "first_seed": VALIDATION_SEED,
            "max_score": self._validation.max_score(run),
        }
        model = self._run_dir / run.algorithm.model_file
        run.algorithm.save_model(model, self._make_card(run, validation=validation))
        if row["clip"]:
            row["clip"].save(self._run_dir / BEST_GAME)


class Checkpoints(Callback):
    """Saves the run at even times, and when it ends in any way. A large replay memory takes long to save, so
    that the times become longer as it fills."""

    def __init__(self, run_dir: Path, config: RunConfig):
        self._run_dir = run_dir
        self._period_s = 60 * config.checkpoint_minutes

    def on_start(self, run: Run) -> None:
        self._due_s = run.seconds + self._period_s

    def on_slice(self, run: Run, part: Slice) -> None:
        if run.seconds > self._due_s:
            self.save(run)

    def on_end(self, run: Run) -> None:
        self.save(run)

    def on_failure(self, run: Run) -> None:
        with suppress(NotFiniteError):  # the last checkpoint is the last good state
            self.save(run)

    def save(self, run: Run) -> None:
        started = time.monotonic()
        run.algorithm.save(self._run_dir, run.state())
        took_s = time.monotonic() - started
        log.debug("saved a checkpoint at step %d in %.1f s", run.step, took_s)
        self._due_s = run.seconds + max(self._period_s, took_s / SAVING_SHARE)


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
