"""The figures of a report: charts as SVG, frames as PNG, games as video, all in the page itself."""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from dino_rl.runs.clip import Clip
from dino_rl.runs.figure import svg_on_both
from dino_rl.runs.plots import draw_panel, draw_runs, panels_of
from dino_rl.runs.run_directory import RunDirectory
from dino_rl.runs.video import VideoWriter
from dino_rl.workspace import Workspace

SIZE = (4.8, 3.3)  # inches of 72 CSS pixels at a scale of 1: readable from 350 pixels on
CLIP_SIDE = 320  # pixels of a clip in the page, at least
HEAT = np.array([214.0, 69.0, 20.0])  # colour of the highest saliency
HEAT_SHARE = 0.75  # how much of the frame it covers

Game = Mapping[str, float]  # a row of validation_games.csv


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that needs no request."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def chart(draw: Callable[[Axes], Any], size: tuple[float, float] = SIZE) -> tuple[str, str]:
    """A chart as data URIs, for light and for dark pages."""

    def make() -> Figure:
        figure, axis = plt.subplots(figsize=size)
        draw(axis)
        return figure

    light, dark = (data_uri("image/svg+xml", svg.encode()) for svg in svg_on_both(make))
    return light, dark


def curves(run: RunDirectory) -> list[tuple[str, tuple[str, str]]]:
    """The curves of a run: what each shows, and the chart."""
    charts = []
    for panel in panels_of(run):
        title = ""

        def draw(axis: Axes, panel=panel):
            nonlocal title
            draw_panel(axis, panel, run)
            title = axis.get_title(loc="left")

        drawn = chart(draw)
        charts.append((title, drawn))
    return charts


def comparison(runs: Sequence[RunDirectory]) -> list[tuple[str, tuple[str, str]]]:
    """Scores of several runs by time and by steps."""
    return [
        ("Scores by time", chart(lambda axis: draw_runs(axis, runs, "minutes"))),
        ("Scores by environment steps", chart(lambda axis: draw_runs(axis, runs, "step"))),
    ]


def score_strip(games: Sequence[Game], score: str) -> tuple[str, str]:
    """Each validation game as a dot over the time of its validation, and the median."""

    def draw(axis: Axes):
        rng = np.random.default_rng(0)
        times = sorted({game["minutes"] for game in games})
        width = (times[-1] - times[0]) / max(1, len(times)) * 0.3
        for capped, marker, label in ((0, "o", "ended by itself"), (1, "^", "stopped at the cap")):
            some = [game for game in games if bool(game["capped"]) == bool(capped)]
            x = np.array([game["minutes"] for game in some]) + width * (rng.random(len(some)) - 0.5)
            y = [game["score"] for game in some]
            if some:
                axis.plot(x, y, marker, markersize=4, alpha=0.55, color=f"C{capped}", label=label)
        medians = [np.median([g["score"] for g in games if g["minutes"] == time]) for time in times]
        axis.plot(times, medians, "-", color="C3", linewidth=1.8, label="median")
        axis.set(title="Every validation game", xlabel="time (minutes)", ylabel=score)
        axis.yaxis.set_major_formatter("{x:,.10g}")
        axis.legend()

    return chart(draw)


def score_histogram(scores: Sequence[float], title: str, score: str) -> tuple[str, str]:
    """How often games ended with which score."""

    def draw(axis: Axes):
        axis.hist(scores, bins=min(20, max(5, len(scores) // 2)), color="C0", alpha=0.75)
        axis.axvline(float(np.mean(scores)), color="C1", linewidth=2, label=f"mean {np.mean(scores):,.4g}")
        axis.axvline(float(np.median(scores)), color="C3", linewidth=2, linestyle="--")
        axis.plot([], [], "--", color="C3", linewidth=2, label=f"median {np.median(scores):,.4g}")
        axis.set(title=title, xlabel=score, ylabel="games")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter("{x:,.10g}")
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.legend()

    return chart(draw)


def causes(deaths: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """What games ended by, by the speed at which they ended."""
    ended: dict[str, dict[int, int]] = {}
    for death in deaths:
        kind = str(death["obstacle"]).partition(" at height")[0].lstrip("0123456789 ")
        speed = int(str(death["speed"]).partition("-")[0])
        by_speed = ended.setdefault(kind, {})
        by_speed[speed] = by_speed.get(speed, 0) + 1
    speeds = sorted({speed for by_speed in ended.values() for speed in by_speed})

    def draw(axis: Axes):
        below = np.zeros(len(speeds))
        for i, (kind, by_speed) in enumerate(sorted(ended.items())):
            counts = np.array([by_speed.get(speed, 0) for speed in speeds])
            axis.bar(
                [f"{speed}-{speed + 1}" for speed in speeds], counts, bottom=below, color=f"C{i}", label=kind
            )
            below += counts
        axis.set(title="Crashes by speed", xlabel="speed (pixels per frame)", ylabel="games")
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.legend()

    return chart(draw)


def clip_video(clip: Clip) -> str:
    """A clip as a video, enlarged with sharp pixels."""
    factor = -(-CLIP_SIDE // max(clip.frames.shape[1:]))
    with Workspace() as directory:
        path = directory / "clip.mp4"
        with VideoWriter(path, clip.fps) as video:
            for frame in clip.frames:
                large = np.kron(frame, np.ones((factor, factor), np.uint8))
                video.add(np.repeat(large[..., None], 3, axis=2))
        return data_uri("video/mp4", path.read_bytes())


def saliency_image(frame: np.ndarray, saliency: np.ndarray) -> str:
    """A frame, uint8 [H, W], and its saliency, float [H, W], as a warm colour: the higher, the warmer."""
    share = HEAT_SHARE * (saliency / (saliency.max() or 1.0))[..., None]
    image = (frame[..., None] * (1 - share) + HEAT * share).astype(np.uint8)
    image = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return data_uri("image/png", file.getvalue())
