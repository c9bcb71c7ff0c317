"""Output on the terminal and in a pipe."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dino_rl import terminal
from dino_rl.cli import training_view

RUN: Any = None  # the view looks only at rows


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (7.0, "7"), (0.012345, "0.0123"), (float("nan"), "-"), (-3, "-3")],
)
def test_numbers_for_people(value, text):
    assert terminal.number(value) == text


@pytest.fixture
def screen(monkeypatch):
    """A terminal or a pipe: `screen(is_terminal)` -> everything that is written to it."""

    def make(is_terminal: bool) -> io.StringIO:
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, width=100, soft_wrap=True, highlight=False)
        for module in (terminal, training_view):
            monkeypatch.setattr(module, "console", console)
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
    view.on_interval(RUN, interval)
    view.on_validation(RUN, validation)
    view.close()
    text = out.getvalue()
    assert "4,000" in text
    assert "210 steps/s" in text
    assert "best so far" in text
    assert ("\x1b" in text) == is_terminal  # plain lines when piped


def test_an_iteration_is_one_line_with_a_histogram():
    row = {"minutes": 0.5, "step": 2000, "iteration": 3, "mean": 40.0, "threshold": 55.5}
    line = terminal.iteration_line(row | {"elites": 30, "sessions": 100, "returns": [10.0, 10.0, 90.0]})
    assert "iteration   3" in line
    assert "elites  30 of 100" in line
    assert "returns 10 █                  ▄ 90" in line
