"""Notebooks: inline videos, curves that grow during a run, and the curves of a finished run.

from dino_rl import notebook
notebook.watch(config, run_dir)  # train, and see it learn
notebook.show_history(run_dir)
notebook.show_video(run_dir / "videos" / "before.mp4", run_dir / "videos" / "after.mp4")
"""

import base64
import io
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import HTML, Image, display

from dino_rl.errors import DinoError
from dino_rl.experiment import cluster_for, make_run
from dino_rl.interrupt import stop_on_signals
from dino_rl.program import command_line
from dino_rl.runs import RunDirectory
from dino_rl.runs.figure import BACKGROUNDS
from dino_rl.runs.plots import draw_run
from dino_rl.train_config import TrainConfig
from dino_rl.training.callbacks import Callback
from dino_rl.training.run import Run

DPI = 72  # a notebook stores every image in itself
LIVE_PANELS = 2


def show_video(*paths: str | Path, width: int = 480, embed: bool = True) -> HTML:
    """Videos side by side, each above its name.

    Args:
        paths: .mp4 files.
        width: of each on the page, in pixels.
        embed: store the videos in the notebook; otherwise it refers to the files, which must stay in place.

    Raises:
        DinoError: a file does not exist.
    """
    return HTML(
        '<div style="display: flex; flex-wrap: wrap; gap: 16px">'
        + "".join(_video_html(Path(path), width, embed) for path in paths)
        + "</div>"
    )


def _video_html(path: Path, width: int, embed: bool) -> str:
    if not path.is_file():
        raise DinoError(f"No video at {path}: make one with {command_line('record')}.")
    source = str(path)
    if embed:
        source = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure style="margin: 0"><video src="{source}" width="{width}" controls autoplay muted loop '
        f'playsinline style="border: 1px solid #d0d7de"></video><figcaption>{path.stem}</figcaption></figure>'
    )


class LiveCurves(Callback):
    """Curves of a run below the current cell, which grow while the run goes on.

    Args:
        run_dir: the run's directory.
        every_s: minimum time between two drawings.
        background: a key of `BACKGROUNDS`.
    """

    def __init__(self, run_dir: Path, every_s: float = 2.0, background: str = "light"):
        self._run_dir = run_dir
        self._every_s = every_s
        self._background = background
        self._output = display(HTML("<i>The first games are being played.</i>"), display_id=True)
        self._drawn_at = time.monotonic()

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        self._update_sometimes()

    def on_iteration(self, run: Run, row: dict[str, Any]) -> None:
        self._update_sometimes()

    def on_validation(self, run: Run, row: dict[str, Any]) -> None:
        self._update_sometimes()

    def _update_sometimes(self):
        if time.monotonic() - self._drawn_at >= self._every_s:
            self.update()
            self._drawn_at = time.monotonic()

    def update(self) -> None:
        """Draw the curves as they are now, unless there are none yet."""
        run = RunDirectory(self._run_dir)
        if self._output and run.has_curves:  # outside of a notebook there is no output to update
            self._output.update(_image(run, LIVE_PANELS, self._background))


def watch(
    config: TrainConfig,
    run_dir: Path,
    resume: bool = False,
    every_s: float = 2.0,
    background: str = "light",
) -> RunDirectory:
    """Train to the end, with curves that grow below the cell. Interrupting the kernel saves and ends the run.

    Args:
        config, run_dir, resume: as for `make_run`.
        every_s, background: as for `LiveCurves`.

    Returns:
        the run's directory: `.best_model`, `.best_validation`, `.videos`.

    Raises:
        DinoError: as `make_run`.
    """
    curves = LiveCurves(run_dir, every_s, background)
    with (
        cluster_for(config),
        make_run(config, run_dir, [curves], command="a notebook", resume=resume) as run,
        stop_on_signals(run),
    ):
        run.run()
    curves.update()
    return RunDirectory(run_dir)


def show_history(run_dir: str | Path, background: str = "light") -> Image:
    """All curves of a run.

    Args:
        run_dir: the run's directory.
        background: a key of `BACKGROUNDS`.

    Raises:
        RunError: there is no run.
    """
    return _image(RunDirectory(Path(run_dir)), None, background)


def _image(run: RunDirectory, panels: int | None, background: str) -> Image:
    with plt.rc_context(BACKGROUNDS[background]):
        figure = draw_run(run, panels)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        plt.close(figure)
    return Image(file.getvalue())
