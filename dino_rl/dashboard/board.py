"""What there is to show of a run, in bounded memory. The run's thread writes, the server's thread reads."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dino_rl.envs.task import Pictures, Task

MAX_ROWS = 4_000  # of a table; of a longer one every second row is dropped
MAX_ENDS = 300  # ways in which games ended that are counted apart
MAX_GAMES = 64  # of one environment that are shown: the last ones, among which are those that do not explore


@dataclass(frozen=True)
class Moment:
    """N games after a step, and what the agent chose to do."""

    observations: np.ndarray
    """[N, ...]."""
    actions: np.ndarray
    """int64 [N]."""
    greedy: np.ndarray
    """bool [N], the games without exploration."""
    values: np.ndarray | None
    """float32 [N, A], of the actions; None: they are computed where they are needed."""
    infos: Mapping[str, Any]
    """Arrays [N] by name, of the environment."""
    pictures: Pictures
    """Of the games."""


class Board:
    """The state of a run for its viewers.

    Args:
        about: what does not change, JSON-ready.
        task: takes the pictures.
        values_of: observations [B, ...] -> values of all actions [B, A]; thread-safe. None: there is no such
            function in this process.

    Attributes:
        fps: pictures per second that the viewers want; 0: nobody watches.
        moments: the newest of each environment, with its number.
        progress: where the run is, JSON-ready.
        ended: how many games have ended in a known way.
        over: how the run ended, in words; empty until then.
    """

    def __init__(
        self,
        about: dict[str, Any],
        task: Task,
        values_of: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self.about = about
        self.task = task
        self.values_of = values_of
        self.fps = 0.0
        self.moments: dict[int, tuple[int, Moment]] = {}
        self.progress: dict[str, Any] = {}
        self.ended = 0
        self.over = ""
        self._due_s: dict[int, float] = {}
        self._lock = threading.Lock()
        self._tables: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._ends: Counter[tuple[tuple[str, str], ...]] = Counter()

    # --- Games --------------------------------------------------------------------------------------------

    def show(
        self,
        source: int,
        env: Any,
        observations: np.ndarray,
        actions: np.ndarray,
        greedy: np.ndarray,
        infos: Mapping[str, Any],
        values: np.ndarray | None = None,
    ) -> None:
        """Take up a step of an environment, if somebody watches and it is time for another picture.

        Args:
            source: number of the environment.
            env: the environment. The others are as in `Moment`.
        """
        fps = self.fps  # read once: the server's thread may set it to 0 meanwhile
        if not fps:
            return
        now = time.monotonic()
        if now < self._due_s.get(source, 0.0):
            return
        pictures = self.task.pictures(env)
        if pictures is None:  # the next step will bring them
            return
        self._due_s[source] = now + 1 / fps
        number = self.moments[source][0] + 1 if source in self.moments else 1
        self.moments[source] = number, Moment(observations, actions, greedy, values, infos, pictures)

    # --- Numbers ------------------------------------------------------------------------------------------

    def add(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Add rows of numbers to a table."""
        with self._lock:
            version, kept = self._tables.get(table, (0, []))
            kept.extend(plain(row) for row in rows)
            while len(kept) > MAX_ROWS:  # coarser, but from the start to the end
                version, kept = version + 1, kept[::2]
            self._tables[table] = version, kept

    def rows_after(self, table: str, version: int, count: int) -> tuple[int, int, list[dict[str, Any]]]:
        """Rows of a table that a viewer lacks.

        Args:
            table: its name.
            version, count: of what the viewer has, as this method returned them; 0, 0 at first.

        Returns:
            version and count of the whole table, and rows. With another version, they are all its rows.
        """
        with self._lock:
            now, rows = self._tables.get(table, (0, []))
            return now, len(rows), rows[count if now == version else 0 :]

    @property
    def tables(self) -> list[str]:
        """Names of the tables that have rows."""
        return list(self._tables)

    def count_ends(self, ends: Iterable[Mapping[str, str]]) -> None:
        """Count games that ended, each by how it did: see `Task.describe_end`."""
        with self._lock:
            for end in ends:
                key = tuple(end.items())
                if key and (key in self._ends or len(self._ends) < MAX_ENDS):
                    self._ends[key] += 1
                    self.ended += 1

    def ends(self) -> list[dict[str, Any]]:
        """Ways in which games ended, each with how many `games`."""
        with self._lock:
            return [{**dict(key), "games": games} for key, games in self._ends.items()]


def plain(value: Any) -> Any:
    """A value as JSON has it: no numpy, and null for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
