"""A training run on a dashboard, as a callback of the run."""

import time
from collections import deque
from pathlib import Path
from typing import Any

from dino_rl.agents.networks import outputs_of
from dino_rl.dashboard.board import Board, plain
from dino_rl.dashboard.server import DashboardServer
from dino_rl.runs.run_directory import RunDirectory
from dino_rl.training.algorithm import Slice
from dino_rl.training.local import Decision, LocalAlgorithm
from dino_rl.training.run import Callback, Run
from dino_rl.training.statistics import mean

RECENT = 100  # games, whose mean score is shown
PROGRESS_S = 0.5  # from one report to the next
TABLES = ("intervals", "validations", "iterations")
NOT_SHOWN = ("returns", "clip")  # of an iteration and a validation


class ShowRun(Callback):
    """Shows a run on a board. Where nobody watches, a step costs it one comparison.

    Args:
        board: of the run.
        server: serves the board; closed with the run.
        run_dir: of the run, whose earlier rows are shown if it is resumed.
    """

    def __init__(self, board: Board, server: DashboardServer, run_dir: Path):
        self._board = board
        self._server = server
        self._run_dir = run_dir
        self._reported_s = 0.0
        self._rate_from: tuple[float, int, int] | None = None  # time, steps and updates
        self._best: float | None = None
        self._scores: deque[float] = deque(maxlen=RECENT)

    def on_start(self, run: Run) -> None:
        if isinstance(run.algorithm, LocalAlgorithm):
            run.algorithm.on_decision.append(self._show)
            self._board.values_of = outputs_of(run.algorithm.agent.network)
        if run.step:
            earlier = RunDirectory(self._run_dir)
            for name in TABLES:
                columns = earlier.table(name)
                rows = [
                    dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
                ]
                self._board.add(name, *rows)
                if name == "validations" and rows:
                    self._best = max(row["mean"] for row in rows)
        self._report(run)

    def _show(self, decision: Decision):
        self._board.show(
            0,
            decision.env,
            decision.observations,
            decision.actions,
            decision.greedy,
            decision.infos,
            decision.values,
        )

    def on_slice(self, run: Run, part: Slice) -> None:
        if part.ends:
            self._board.count_ends(part.ends)
        if self._board.fps and time.monotonic() - self._reported_s >= PROGRESS_S:
            self._report(run)

    def on_episode(self, run: Run, row: dict[str, Any]) -> None:
        self._scores.append(row["score"])

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._add("intervals", row)
        self._report(run)

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        self._add("iterations", row)

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._best = max(row["mean"], self._best) if self._best is not None else row["mean"]
        self._add("validations", row)

    def on_fault(self, run: Run, row: dict[str, Any]) -> None:
        self._add("faults", row)

    def on_end(self, run: Run) -> None:
        self._report(run)
        self._board.over = "The run was stopped and saved." if run.stopped else "The run is over."

    def on_failure(self, run: Run) -> None:
        self._board.over = "The run cannot go on: the terminal says why."

    def close(self) -> None:
        self._board.over = self._board.over or "The run was interrupted."
        self._server.close()

    def _add(self, table: str, row: dict[str, Any]):
        self._board.add(table, {name: value for name, value in row.items() if name not in NOT_SHOWN})

    def _report(self, run: Run):
        now, updates = time.monotonic(), run.algorithm.updates
        rates = {}
        if self._rate_from is not None and now > self._rate_from[0]:
            then, steps_then, updates_then = self._rate_from
            rates = {
                "stepsPerS": (run.step - steps_then) / (now - then),
                "updatesPerS": (updates - updates_then) / (now - then),
            }
        self._reported_s = now
        self._rate_from = now, run.step, updates
        left_s = run.seconds_left
        self._board.progress = plain(
            {
                "share": None if left_s is None else run.seconds / max(run.seconds + left_s, 1e-9),
                "secondsLeft": left_s,
                "minutes": run.minutes,
                "step": run.step,
                "steps": run.budget.total,
                "episodes": run.episodes,
                "scoreMean": mean(self._scores),
                "best": self._best,
                **rates,
            }
        )
