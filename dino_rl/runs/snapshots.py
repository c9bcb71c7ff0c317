"""Models of a run as it learned: RUN_DIR/snapshots, a few MB in all.

A snapshot is a model with its card, like best.h5, so `play --model` and `evaluate --model` accept it. Its
name says when it was made.
"""

import itertools
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dino_rl.errors import RunError
from dino_rl.runs.model_file import card_path
from dino_rl.runs.output import cannot_write
from dino_rl.runs.run_directory import SNAPSHOTS

MAX_BYTES = 19 * 2**20  # of all snapshots of a run
_NAME = re.compile(r"minute-(\d{4,9}\.\d)-step-(\d{9,18})\.h5")


@dataclass(frozen=True, order=True)
class Snapshot:
    """A model of a run at one moment."""

    step: int
    """Environment steps."""
    minutes: float
    """Of training."""
    path: Path

    @property
    def size(self) -> int:
        """Bytes of the model and its card; a card that is missing has none."""
        total = 0
        for path in (self.path, card_path(self.path)):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def remove(self):
        """Delete it.

        Raises:
            RunError: it cannot be deleted.
        """
        try:
            for path in (self.path, card_path(self.path)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def snapshot_path(run_dir: Path, minutes: float, step: int) -> Path:
    """RUN_DIR/snapshots/minute-0005.2-step-000123456.h5"""
    return run_dir / SNAPSHOTS / f"minute-{minutes:06.1f}-step-{step:09}.h5"


def find_snapshots(run_dir: Path) -> list[Snapshot]:
    """Those of a run, the oldest first."""
    found = []
    for path in (run_dir / SNAPSHOTS).glob("*.h5"):
        name = _NAME.fullmatch(path.name)
        if name and card_path(path).is_file():  # a run that was killed may leave one without a card
            found.append(Snapshot(int(name[2]), float(name[1]), path))
    return sorted(found)


def target_minutes(last: float) -> list[float]:
    """0.5, 1, 2, 5, 10, 20, 40, 80... up to the last minute of a run: the times of its snapshots."""
    doubling = (10.0 * 2**i for i in itertools.count())
    return list(itertools.takewhile(lambda each: each <= last, itertools.chain((0.5, 1, 2, 5), doubling)))


def worth_keeping(snapshots: Sequence[Snapshot], max_bytes: int = MAX_BYTES) -> list[Snapshot]:
    """The first, the last, and those nearest to each of the `target_minutes`. Where these are too large, the
    early ones after the first are left out.

    Args:
        snapshots: the oldest first.
        max_bytes: of all files together.
    """
    if not snapshots:
        return []
    wanted = {snapshots[0], snapshots[-1]}
    for minute in target_minutes(snapshots[-1].minutes):
        wanted.add(min(snapshots, key=lambda each: abs(each.minutes - minute)))
    kept = sorted(wanted)
    while sum(each.size for each in kept) > max_bytes:
        del kept[1 if len(kept) > 2 else 0]
    return kept


def choose(snapshots: Sequence[Snapshot], most: int) -> list[Snapshot]:
    """At most so many: the first, the last, and others evenly in between, rather late than early."""
    last = len(snapshots) - 1
    if last < most:
        return list(snapshots)
    return [snapshots[math.ceil(i * last / (most - 1))] for i in range(most)]


def snapshots_to_watch(run_dir: Path, most: int) -> list[Snapshot]:
    """At most so many of a run.

    Raises:
        RunError: there are none.
    """
    found = choose(find_snapshots(run_dir), most)
    if not found:
        raise RunError(
            f"{run_dir} has no snapshots: runs with --engine keras or ray have some, since version 0.2.0."
        )
    return found
