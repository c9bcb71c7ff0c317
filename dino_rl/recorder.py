"""Videos of any agent in any environment."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from dino_rl.envs.task import PlayOptions
from dino_rl.errors import EnvError
from dino_rl.runs.overlay import Decision, PanelLabels, with_panel
from dino_rl.runs.run_directory import videos_dir
from dino_rl.runs.video import VideoWriter, check_video, enlarge
from dino_rl.training.faults import ReplaceableEnvs
from dino_rl.training.rollout import Episode, Evaluation, random_policy

if TYPE_CHECKING:  # networks come with it
    from dino_rl.player import Player

# Observations [N, ...] -> actions [N], and the values [N, A] that they were chosen by, if there are any.
PolicyWithValues = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
OnProgress = Callable[[float], None]  # receives the share of some work that is done, 0 to 1
VIDEO_SECONDS = 90.0  # of one game; a good agent plays for much longer
HOLD_S = 1.0  # how long the last canvas of a game stays


class VideoRecorder(gymnasium.vector.VectorWrapper):
    """Records a game while it is played.

    Args:
        env: one game as a vector environment, whose `render` returns the frames since the last call (render
            mode "rgb_array_list").
        path: the video, an .mp4 file. It is complete after `close_video`.
        labels: of a panel beside the game that shows the agent's decisions; None: no panel.
        max_s: truncate a game after this many seconds of video; None: never.
        on_progress: called after each step with the share of `max_s` that the running game has had.

    Raises:
        RunError: the video cannot be written.

    Attributes:
        values: float [A], the values that the next action was chosen by, for the panel. Set it before a step.
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv,
        path: Path,
        labels: PanelLabels | None = None,
        max_s: float | None = None,
        on_progress: OnProgress | None = None,
    ):
        super().__init__(env)
        self._on_progress = on_progress
        self._fps = env.metadata["render_fps"]
        self._frames_left = self._max_frames = np.inf if max_s is None else max_s * self._fps
        self._video = VideoWriter(path, self._fps)
        self._labels = labels
        self.values: np.ndarray | None = None
        self._frame: np.ndarray | None = None
        self._score = ""
        self._return = 0.0
        self._added = 0  # frames of the running game
        self._skipped = 0  # frames to leave out: a game that is played again has them in the video
        self._again = False

    def follow(self, env: gymnasium.vector.VectorEnv) -> "VideoRecorder":
        """Go on with another environment, which begins with the game that was running."""
        self._again, self.env = env is not self.env, env
        return self

    def reset(self, **options: Any):
        observations, infos = self.env.reset(**options)
        self._skipped, self._added, self._again = self._added if self._again else 0, 0, False
        self._return = 0.0
        self._frames_left = self._max_frames
        self._remember(observations, infos)
        return observations, infos

    def step(self, actions: Any):
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        # The panel shows the observation that led to the action, beside what followed from the action. The
        # first step of a game renders its start, too.
        canvases = [enlarge(canvas) for canvas in self.env.render()[0]]  # type: ignore[index]
        self._add(canvases, int(actions[0]))
        self._frames_left -= len(canvases)
        if self._on_progress:
            self._on_progress(1 - max(0.0, self._frames_left) / self._max_frames)
        truncated = truncated | (self._frames_left <= 0)
        self._return += float(rewards[0])
        self._remember(observations, infos)
        if terminated[0] or truncated[0]:
            self._skipped = 0
            self._add(canvases[-1:] * round(HOLD_S * self._fps), int(actions[0]))
            self._added = 0
        return observations, rewards, terminated, truncated, infos

    def _remember(self, observations: np.ndarray, infos: dict):
        self._frame = observations[0, ..., -1] if observations.ndim == 4 else None
        score, name = (infos["score"][0], "score") if "score" in infos else (self._return, "return")
        self._score = f"{name} {score:,.0f}"

    def _add(self, canvases: list[np.ndarray], action: int):
        self._added += len(canvases)
        left_out = min(self._skipped, len(canvases))
        self._skipped -= left_out
        canvases = canvases[left_out:]
        if self._labels:
            decision = Decision(self._score, action, self.values, self._frame)
            canvases = with_panel(canvases, self._labels, decision)
        for canvas in canvases:
            self._video.add(canvas)

    def close_video(self):
        """Finish the file. The game can go on.

        Raises:
            RunError: the video cannot be written.
        """
        self._video.close()

    def __del__(self):
        """Gymnasium's own closes the environment. Here the environment outlives its recorder."""


def record_games(
    games: ReplaceableEnvs,
    policy: PolicyWithValues,
    seeds: Iterable[int],
    path: Path,
    labels: PanelLabels | None = None,
    max_s: float | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Record one game for each seed. The video is complete even if the games are interrupted. A game that is
    played again, because its environment failed, continues in the video where it was.

    Args:
        games: one game as a vector environment, as for `VideoRecorder`.
        path, labels, max_s, on_progress: as for `VideoRecorder`.
        policy: observations [1, ...] to actions [1], and their values [1, A] or None.
        seeds: one for each game.
        on_episode: called with each game as it ends.

    Raises:
        RunError: the video cannot be written.
        EnvError: the environment failed again and again.
    """
    recorder = VideoRecorder(games.envs[0], path, labels, max_s, on_progress)

    def act(observations: np.ndarray) -> np.ndarray:
        actions, values = policy(observations)
        recorder.values = None if values is None else values[0]
        return actions

    try:
        return games.play_in_turn(act, seeds, on_episode, recorder.follow)
    finally:
        recorder.close_video()


def record_model(
    player: "Player",
    path: Path | None = None,
    seeds: Sequence[int] = (0,),
    before: bool = False,
    overlay: bool = False,
    max_s: float | None = VIDEO_SECONDS,
    options: PlayOptions = PlayOptions(),
    on_video: Callable[[str, Path, Evaluation], None] = lambda title, path, evaluation: None,
    on_progress: OnProgress = lambda share: None,
    on_fault: Callable[[EnvError], None] = lambda error: None,
) -> list[Path]:
    """Record a model in its own environment. Needs no display.

    Args:
        player: the model.
        path: the video; None: videos/after.mp4 in the model's run, or in videos/NAME for a model outside of a
            run.
        seeds: one for each game.
        before: record random play of the same seeds, too, as before.mp4 beside `path`.
        overlay: show what the network sees and the value of each action beside the game.
        max_s: end a game after this many seconds of video.
        options: how the games are played.
        on_video: called with each video: who plays, the file, and the games.
        on_progress: called after each step, if there is a `max_s`. Games that end earlier make it jump.
        on_fault: called when the environment failed and is made anew.

    Returns:
        the videos, random play first.

    Raises:
        RunError: a video cannot be written.
        ModelError: the model does not fit its environment.
    """
    path = path or videos_dir(player.path) / "after.mp4"
    check_video(path)
    task = player.task
    spec = task.spec
    player.check(spec)
    videos: list[tuple[Path, str, PolicyWithValues]] = [(path, "trained agent", player.act_with_values)]
    if before:
        random = random_policy(spec.num_actions, seeds[0])
        videos.insert(0, (path.with_name("before.mp4"), "random play", lambda seen: (random(seen), None)))
    games_done = 0

    def count(episode: Episode):
        nonlocal games_done
        games_done += 1

    def report(share_of_game: float):
        on_progress((games_done + share_of_game) / (len(seeds) * len(videos)))

    with ReplaceableEnvs(
        lambda: [task.make_single_env(task.complete(options), record=True)], on_fault
    ) as replaceable:
        for video, title, policy in videos:
            labels = PanelLabels(title, spec.actions, player.values_are) if overlay else None
            on_step = report if max_s is not None else None
            games = record_games(replaceable, policy, seeds, video, labels, max_s, count, on_step)
            on_video(title, video, games)
    return [video for video, _, _ in videos]
