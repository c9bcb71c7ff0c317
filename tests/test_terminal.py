"""Output on the terminal and in a pipe."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dino_rl import terminal
from dino_rl.cli import training_view
from dino_rl.training.algorithm import Slice
from dino_rl.verbosity import set_verbosity

RUN: Any = SimpleNamespace(seconds=90.0, seconds_left=270.0)  # what the view looks at, beside rows


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (7.0, "7"), (0.012345, "0.0123"), (float("nan"), "-"), (-3, "-3")],
)
def test_numbers_for_people(value, text):
    assert terminal.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (45, "45 s"), (99, "99 s"), (100, "2 min"), (3_600, "60 min"), (11_100, "3 h 05 min")],
)
def test_durations_for_people(seconds, text):
    assert terminal.duration(seconds) == text


@pytest.fixture
def quiet():
    """As with --quiet."""
    set_verbosity(quiet=True)
    yield
    set_verbosity()


@pytest.fixture
def screen(monkeypatch):
    """A terminal or a pipe: `screen(is_terminal)` -> everything that is written to it."""

    def make(is_terminal: bool) -> io.StringIO:
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, width=100, soft_wrap=True, highlight=False)
        monkeypatch.setattr(terminal, "console", console)
        return out

    return make


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_game_is_drawn_on_a_terminal_and_not_into_a_pipe(screen, is_terminal):
    out = screen(is_terminal)
    frame = np.full((80, 80), 255, np.uint8)
    frame[40:60, 10:20] = 80
    with terminal.GameView(enabled=True) as view:
        view.show(frame, "score 12")
    assert ("█" in out.getvalue()) == is_terminal
    assert ("score 12" in out.getvalue()) == is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_reports_in_lines(screen, is_terminal):
    out = screen(is_terminal)
    interval = {
        **{"minutes": 1.5, "step": 4000, "score_mean": 45.2, "greedy_score_mean": float("nan")},
        **{"epsilon": 0.3, "loss": float("nan"), "q_mean": float("nan")},
        **{"steps_per_s": 210.0, "updates_per_s": 0.0, "progress": 0.5},
    }
    validation = {
        "minutes": 2.0,
        "mean": 51.0,
        "median": 50.0,
        "max": 60.0,
        "games": 20,
        "capped": 0,
        "best": 1,
    }
    view = training_view.TrainingView()
    view.on_start(RUN)
    view.on_slice(RUN, Slice())
    view.on_interval(RUN, interval)
    view.on_validation(RUN, validation)
    view.close()
    text = out.getvalue()
    assert "4,000" in text
    assert "210 steps/s" in text
    assert "4 min left" in text
    assert "best so far" in text
    assert ("\x1b" in text) == is_terminal  # plain lines when piped
    assert ("25%" in text) == is_terminal
    assert is_terminal or len(text.splitlines()) == 2


def test_an_iteration_is_one_line_with_a_histogram():
    row = {"minutes": 0.5, "step": 2000, "iteration": 3, "mean": 40.0, "threshold": 55.5}
    line = terminal.iteration_line(row | {"elites": 30, "sessions": 100, "returns": [10.0, 10.0, 90.0]})
    assert "iteration   3" in line
    assert "elites  30 of 100" in line
    assert "returns 10 █                  ▄ 90" in line


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when the test says so: `clock.now += 1`."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now, localtime=None, strftime=None)
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def test_in_a_pipe_progress_is_a_line_now_and_then(screen, clock):
    out = screen(False)
    with terminal.Progress("recording") as progress:
        for share in np.linspace(0, 1, 101):
            clock.now += 0.4
            progress.update(share)
    lines = out.getvalue().splitlines()
    assert lines == ["recording: 37%, 26 s left", "recording: 75%, 10 s left"]


def test_on_a_screen_progress_is_a_bar_that_goes_away(screen, clock):
    out = screen(True)
    with terminal.Progress("recording") as progress:
        clock.now += 30
        progress.update(0.25)
        progress._bar.refresh()
        shown = out.getvalue()
        clock.now += 10
        progress._bar.refresh()
    assert "recording" in shown
    assert "25%" in shown
    assert "90 s left" in shown
    assert "80 s left" in out.getvalue()  # it counts down between updates
    assert out.getvalue().rstrip().endswith("\x1b[2K")


def test_a_time_that_is_given_counts(screen, clock):
    out = screen(False)
    with terminal.Progress("training") as progress:
        clock.now += 20
        progress.update(0.5, 500)
    assert out.getvalue() == "training: 50%, 8 min left\n"


def test_nothing_is_known_at_the_start(screen, clock):
    out = screen(False)
    with terminal.Progress("training") as progress:
        clock.now += 20
        progress.update(0.0)
    assert out.getvalue() == "training: 0%\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_means_quiet(is_terminal, screen, clock, quiet):
    out = screen(is_terminal)
    with terminal.Progress("training") as progress:
        terminal.note("something happened")
        for _ in range(10):
            clock.now += 20
            progress.update(0.5)
    assert out.getvalue() == ""
