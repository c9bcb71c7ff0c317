"""Keeps models of a run as it learns, to be watched side by side later."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dino_rl.runs.model_file import BEST_MODEL
from dino_rl.runs.output import make_directory
from dino_rl.runs.snapshots import MAX_BYTES, find_snapshots, snapshot_path, target_minutes, worth_keeping
from dino_rl.training.algorithm import Slice
from dino_rl.training.run import Callback, Run

log = logging.getLogger(__name__)


class Snapshots(Callback):
    """Saves the model at the start, at minutes 0.5, 1, 2, 5, 10, 20, 40..., and at each validation. Deletes
    those in between that are not worth keeping.

    RLlib's models, which are directories with pickles, are left out, and so are networks that are too large.

    Args:
        run_dir: of the run.
        make_card: the card of a model, from the run.
    """

    def __init__(self, run_dir: Path, make_card: Callable[[Run], dict[str, Any]]):
        self._run_dir = run_dir
        self._make_card = make_card
        self._off = False

    def on_start(self, run: Run) -> None:
        self._off = run.algorithm.model_file != BEST_MODEL
        for snapshot in find_snapshots(self._run_dir):
            if snapshot.step > run.step:  # of work that was lost
                snapshot.remove()
        if run.step == 0:
            self._save(run)
        self._passed = len(target_minutes(run.minutes))

    def on_slice(self, run: Run, part: Slice) -> None:
        passed = len(target_minutes(run.minutes))
        if passed > self._passed:
            self._passed = passed
            self._save(run)

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._save(run)

    def _save(self, run: Run):
        if self._off:
            return
        path = snapshot_path(self._run_dir, run.minutes, run.step)
        make_directory(path.parent)
        run.algorithm.save_model(path, self._make_card(run))
        every = find_snapshots(self._run_dir)
        if every[-1].size > MAX_BYTES:
            log.debug("no snapshots: the model has %d bytes", every[-1].size)
            self._off = True
        kept = worth_keeping(every)
        for snapshot in every:
            if snapshot not in kept:
                snapshot.remove()
