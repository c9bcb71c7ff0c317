"""For notebooks: films inline, curves that grow while a run goes on, a run's history.

from dino_rl import notebook
notebook.watch(Trainer(settings, run_dir))  # train, and see it learn
notebook.show_history(run_dir)
notebook.show_video(run_dir / "videos" / "before.mp4", run_dir / "videos" / "after.mp4")
"""

import base64
import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure

from dino_rl.commands.train import stop_on_signals
from dino_rl.errors import DinoError
from dino_rl.results.plots import BACKGROUNDS, draw_run
from dino_rl.results.runs import Run
from dino_rl.train import Trainer

DPI = 72  # a notebook keeps every picture inside itself
LIVE_PANELS = 2


def show_video(*paths: str | Path, width: int = 480, embed: bool = True) -> HTML:
    """Films side by side, each under its name.

    Args:
        paths: .mp4 files.
        width: of each on the page, in pixels.
        embed: put them into the notebook; else it refers to the files, which must stay where they are.

    Raises:
        DinoError: there is no such file.
    """
    return HTML(
        '<div style="display: flex; flex-wrap: wrap; gap: 16px">'
        + "".join(_figure(Path(path), width, embed) for path in paths)
        + "</div>"
    )


def _figure(path: Path, width: int, embed: bool) -> str:
    if not path.is_file():
        raise DinoError(f"No film at {path}: python run_dino.py record makes one.")
    source = str(path)
    if embed:
        source = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure style="margin: 0"><video src="{source}" width="{width}" controls autoplay muted loop '
        f'playsinline style="border: 1px solid #d0d7de"></video><figcaption>{path.stem}</figcaption></figure>'
    )


def watch(trainer: Trainer, every_s: float = 2.0, background: str = "light") -> Run:
    """Train to the end, with curves that grow below the cell. Interrupting the kernel saves and ends the run.

    Args:
        trainer: a new run, or a resumed one. Its browser is closed at the end.
        every_s: time between two drawings, at least.
        background: a key of `plots.BACKGROUNDS`.

    Returns:
        The run: `.best_model`, `.best_validation`, `.videos`.
    """
    run = Run(trainer.run_dir)
    picture = display(HTML("<i>The first games are being played.</i>"), display_id=True)

    def draw():
        if picture and run.has_curves:  # outside of a notebook there is nothing to draw on
            picture.update(_image(run, LIVE_PANELS, background))

    drawn_at = time.monotonic()
    try:
        with stop_on_signals(trainer):
            for _ in trainer.run("a notebook"):
                if time.monotonic() - drawn_at >= every_s:
                    draw()
                    drawn_at = time.monotonic()
    finally:
        trainer.close()
    draw()
    return run


def show_history(run_dir: str | Path, background: str = "light") -> Image:
    """All curves of a run.

    Raises:
        RunError: there is no run.
    """
    return _image(Run(Path(run_dir)), None, background)


def _image(run: Run, panels: int | None, background: str) -> Image:
    with plt.rc_context(BACKGROUNDS[background]):
        figure: Figure = draw_run(run, panels)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        plt.close(figure)
    return Image(file.getvalue())
