"""The models of one run as it learned, which all play the same game at the same time."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np

from dino_rl.envs.task import Task
from dino_rl.player import KerasPlayer
from dino_rl.recorder import OnProgress
from dino_rl.runs.rows import RowLabel, stack_rows
from dino_rl.runs.snapshots import Snapshot, snapshots_to_watch
from dino_rl.runs.video import Animation, VideoWriter, check_video

MOST = 6  # models: rows of a window
MAX_SCORE = 1000  # of the Dino, which a good model would play for hours
MAX_SECONDS = 90.0  # of any game, at its own speed
SMALL = Animation(fps=12, width=480, quality=40)  # many rows of moving lines take much room
HOLD_S = 2.0  # how long the last picture of a video stays


@dataclass
class Row:
    """A model and its game."""

    snapshot: Snapshot
    player: KerasPlayer
    score: float = 0.0
    ended: str = ""
    """How the game ended; "" while it goes on."""
    canvas: np.ndarray | None = None

    @property
    def title(self) -> str:
        """When the model was saved."""
        minutes, step = self.snapshot.minutes, self.snapshot.step
        if step == 0:
            return "untrained"
        if minutes >= 1:
            return f"minute {minutes:.0f}"
        return f"second {60 * minutes:.0f}" if minutes else f"step {step:,}"

    def label(self, score_name: str) -> RowLabel:
        return RowLabel(self.title, f"{score_name} {self.score:,.0f}", self.ended)


def watch_learning(
    run_dir: Path,
    seed: int = 0,
    path: Path | None = None,
    window: bool = False,
    max_score: int | None = None,
    on_progress: OnProgress = lambda share: None,
) -> list[Row]:
    """Let at most six snapshots of a run play one seed at the same time.

    Args:
        run_dir: of the run.
        seed: of all games.
        path: of a video; None: none.
        window: show the games one above the other in a window, at their own speed, where the task can.
        max_score: end a game at this score; None: at 1,000 in the Dino.
        on_progress: called after each step with the share of the longest game that has been played.

    Returns:
        the models and how their games ended, the untrained one first.

    Raises:
        RunError: the run has no snapshots, or the video cannot be written.
        ModelError: a snapshot is damaged, or does not fit its environment.
        EnvError: the window was closed, or the environment failed.
    """
    if path:
        check_video(path)
    rows = [Row(each, KerasPlayer(each.path)) for each in snapshots_to_watch(run_dir, MOST)]
    task = rows[0].player.task
    for row in rows:
        row.player.check(task.spec)
    with ExitStack() as opened:
        envs = []
        for env in task.make_watch_envs(len(rows), max_score or MAX_SCORE, window, record=path is not None):
            opened.callback(env.close)
            envs.append(env)
        fps = envs[0].metadata["render_fps"]
        step_s = 1 / fps
        video = opened.enter_context(VideoWriter(path, fps, SMALL)) if path else None
        title = f"{task.config.id}, seed {seed}: one agent after more and more training"
        show = _Show(task, envs, rows, title, video)
        next_step = time.monotonic()
        for played_s in _play(envs, rows, seed, step_s):
            show.step()
            if show.frames >= MAX_SECONDS * fps:  # a step may have several
                break
            ahead = max((row.score for row in rows if not row.ended), default=0.0)
            of_score = ahead / (max_score or MAX_SCORE) if task.spec.score == "score" else 0.0
            on_progress(min(1.0, max(played_s / MAX_SECONDS, of_score)))
            if window:
                next_step = max(next_step + step_s, time.monotonic() - step_s)
                time.sleep(max(0.0, next_step - time.monotonic()))
        show.hold(round(HOLD_S * fps))
    return rows


def _play(
    envs: Sequence[gymnasium.vector.VectorEnv], rows: Sequence[Row], seed: int, step_s: float
) -> Iterator[float]:
    """Play all games; yields the seconds of play after the start and after each step."""
    parts: list[Sequence[Row]] = []  # the rows of each environment
    seen: list[np.ndarray] = []
    start = 0
    for env in envs:
        parts.append(rows[start : start + env.num_envs])
        start += env.num_envs
        seen.append(env.reset(seed=[seed] * env.num_envs)[0])  # type: ignore[arg-type]
    played_s = 0.0
    yield played_s
    while played_s < MAX_SECONDS and any(not row.ended for row in rows):
        for k, (env, part) in enumerate(zip(envs, parts, strict=True)):
            if all(row.ended for row in part):
                continue  # most environments must not be stepped after their end
            actions = [row.player.act(seen[k][i : i + 1])[0] for i, row in enumerate(part)]
            seen[k], rewards, terminated, truncated, infos = env.step(np.array(actions))
            for i, row in enumerate(part):
                if row.ended:
                    continue
                row.score = float(infos["score"][i]) if "score" in infos else row.score + float(rewards[i])
                row.ended = "game over" if terminated[i] else "plays on" if truncated[i] else ""
        played_s += step_s
        yield played_s


class _Show:
    """Where the games are seen: a window, a video, both or nowhere."""

    def __init__(
        self,
        task: Task,
        envs: Sequence[gymnasium.vector.VectorEnv],
        rows: Sequence[Row],
        title: str,
        video: VideoWriter | None,
    ):
        self._task, self._envs, self._rows, self._title, self._video = task, envs, rows, title, video
        self._last: np.ndarray | None = None
        self._labels: list[RowLabel] = []
        self.frames = 0  # of the video

    def step(self):
        """Show what followed from a step."""
        labels = [row.label(self._task.spec.score) for row in self._rows]
        if labels != self._labels:
            self._task.label(self._envs[0], [[each.title, each.text, each.ended] for each in labels])
            self._labels = labels
        if self._video:
            # Each game renders the canvas of now, or a list of those since the last step.
            rendered = [canvas for env in self._envs for canvas in cast(Iterable[Any], env.render() or ())]
            shown = [each if isinstance(each, list) else [each] for each in rendered]
            for i in range(max(map(len, shown))):
                for row, frames in zip(self._rows, shown, strict=True):
                    row.canvas = frames[min(i, len(frames) - 1)] if frames else row.canvas
                canvases = [row.canvas for row in self._rows if row.canvas is not None]
                self._last = stack_rows(canvases, labels, self._title)
                self._video.add(self._last)
                self.frames += 1

    def hold(self, frames: int):
        """Repeat the last picture of the video."""
        if self._video and self._last is not None:
            for _ in range(frames):
                self._video.add(self._last)
