"""What a run leaves behind, and what is said about it: pure functions."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from dino_rl import terminal
from dino_rl.errors import DinoError
from dino_rl.evaluate import Game
from dino_rl.results.deaths import count, deaths, describe
from dino_rl.results.output import check_writable
from dino_rl.results.plots import group_means, smooth
from dino_rl.results.replays import Replay
from dino_rl.results.runlog import Table, read_table
from dino_rl.settings import GameSettings


def test_means_of_ten_games():
    values = np.arange(25.0)
    assert group_means(values).tolist() == [4.5, 14.5, 22.0]
    assert group_means(np.array([])).tolist() == []


def test_a_smooth_curve_leaves_gaps_out():
    values = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(smooth(values, window=3), [1, 2, 4, 4, 5, np.nan, np.nan])


def test_a_table_reads_back(tmp_path):
    table = Table(tmp_path / "t.csv", ("step", "loss", "name"))
    table.add({"step": 1, "loss": 0.12345678, "name": 2})
    table.add({"step": 2, "loss": float("nan"), "name": 3})
    table.close()
    columns = read_table(tmp_path / "t.csv")
    assert columns["step"] == [1, 2]
    assert columns["loss"][0] == 0.123457
    assert np.isnan(columns["loss"][1])
    again = Table(tmp_path / "t.csv", ("step", "loss", "name"), step=1)
    again.add({"step": 2, "loss": 0.5, "name": 4})
    again.close()
    assert read_table(tmp_path / "t.csv")["name"] == [2, 4]
    assert read_table(tmp_path / "none.csv") == {}


GAME = Game(
    seed=4,
    score=1415.0,
    episode_return=1.0,
    length=3,
    capped=False,
    info={
        "obstacle": 2.0,
        "obstacle_size": 1.0,
        "obstacle_y": 75.0,
        "speed": 9.7,
        "jumping": 1.0,
        "ducking": 0.0,
        "night": 1.0,
    },
    actions=[0, 1, 2],
)


def test_a_death_in_words():
    assert describe(GAME) == {
        "seed": 4,
        "score": 1415,
        "obstacle": "bird at height 75",
        "speed": "9-10",
        "doing": "jumping",
        "light": "night",
        "after_night_began": 15,
    }
    cacti = replace(
        GAME, info={**GAME.info, "obstacle": 1.0, "obstacle_size": 3.0, "jumping": 0.0, "night": 0.0}
    )
    assert describe(cacti)["obstacle"] == "3 large cactus"
    assert describe(cacti)["doing"] == "running"
    assert describe(cacti)["light"] == "day"
    rows = deaths([GAME, cacti, GAME, replace(GAME, capped=True)])
    assert count(rows) == [
        ("bird at height 75, jumping, speed 9-10", 2),
        ("3 large cactus, running, speed 9-10", 1),
    ]


def test_a_kept_game_reads_back(tmp_path):
    actions = np.random.default_rng(0).integers(0, 3, 10_000)
    settings = GameSettings(start_speed=7.5, action_delay=(0.5, 0.5), dino_x=3)
    kept = Replay(2**32 - 1, settings, 4, "chrome 156", 20_000, True, actions)
    kept.save(tmp_path / "games" / "g.json")
    read = Replay.load(tmp_path / "games" / "g.json")
    np.testing.assert_array_equal(read.actions, actions)
    assert replace(read, actions=actions) == kept
    assert (tmp_path / "games" / "g.json").stat().st_size < 5000


def test_writable_places(tmp_path):
    (tmp_path / "file").write_text("x")
    for good in (tmp_path / "new", tmp_path / "a" / "b" / "c", tmp_path / "file"):
        check_writable(good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    for bad in (tmp_path, tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(DinoError, match=str(tmp_path)):
            check_writable(bad)


# --- On the terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (7.0, "7"), (0.012345, "0.0123"), (float("nan"), "-"), (-3, "-3")],
)
def test_numbers_for_people(value, text):
    assert terminal.number(value) == text


@pytest.fixture
def screen(monkeypatch):
    """The terminal that the views draw on: `screen(is_terminal)` -> where it all goes."""

    def make(is_terminal: bool) -> io.StringIO:
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, width=100, soft_wrap=True, highlight=False)
        monkeypatch.setattr(terminal, "console", console)
        return out

    return make


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_game_is_drawn_on_a_terminal_and_not_into_a_pipe(screen, is_terminal):
    out = screen(is_terminal)
    picture = np.full((80, 80), 255, np.uint8)
    picture[40:60, 10:20] = 80
    with terminal.GameView(enabled=True) as view:
        view.show(picture, "score 12")
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
    with terminal.TrainingView() as view:
        view.interval(interval)
        view.validation(validation)
    text = out.getvalue()
    assert "4,000" in text
    assert "210 steps/s" in text
    assert "best so far" in text
    assert ("\x1b" in text) == is_terminal  # plain lines when piped
