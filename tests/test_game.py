"""The bridge to the real game: both clocks, every verb, nothing left to chance."""

import base64
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, project_files, script_of_actions, still_running
from PIL import Image

from dino_rl.browser import Arena, Game
from dino_rl.browser import chrome as chrome_module
from dino_rl.browser.chrome import Browser, installed_browser
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import Observation
from dino_rl.browser.page import cache_dir
from dino_rl.browser.watchdog import processes_of
from dino_rl.errors import BrowserError, DinoError, PageError

pytestmark = pytest.mark.browser

UNTOUCHED = "chrome://dino"
# Everything that an environment may vary at once: what is reproducible must be so with all of it.
VARIED = GameSettings(
    start_speed=7.5, clear_time_ms=300.0, dino_x=13, frame_jitter_ms=0.1, action_delay=(0.5, 0.3, 0.2)
)


@pytest.fixture(scope="module")
def live():
    """A live game on our page."""
    with Game("live") as game:
        yield game


@pytest.fixture(scope="module")
def untouched():
    """A live game on untouched chrome://dino."""
    with Game("live", UNTOUCHED) as game:
        yield game


@pytest.fixture(params=["game", "live", "untouched"])
def any_game(request):
    """The same game three ways: lock-step, live on our page, live on the untouched page."""
    return request.getfixturevalue(request.param)


# --- A seed and its actions are the game -----------------------------------------------------------------


def digest(frames: np.ndarray, states: np.ndarray, canvas: np.ndarray | None) -> str:
    parts = (frames.tobytes(), states.tobytes(), b"" if canvas is None else canvas.tobytes())
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def play_game(game: Game, seed: int, steps: int = 60) -> list[str]:
    """One digest of all bits for each step, whole canvases among them, to the crash or to `steps`."""
    seen = game.restart(seed, VARIED)
    digests = [digest(seen.frames, seen.states, game.canvas())]
    for i, action in enumerate(script_of_actions(seed, steps)):
        seen = game.step(action, 4)
        digests.append(digest(seen.frames, seen.states, game.canvas() if i % 5 == 0 else None))
    return digests


def play_arena(arena: Arena, index: int, seed: int, steps: int = 60) -> list[str]:
    """The same game as one of an arena, beside other games."""
    arena.step(resets={i: (1000 + i, GameSettings()) for i in range(arena.num_games)})
    arena.step([1] * arena.num_games, 30)
    seen = arena.step(resets={index: (seed, VARIED)})
    rows = [slice(index, index + 1)]
    digests = [digest(seen.frames[rows[0]], seen.states[rows[0]], arena.canvas(index))]
    for i, action in enumerate(script_of_actions(seed, steps)):
        actions = [(i // 7 + other) % 3 for other in range(arena.num_games)]
        actions[index] = action
        seen = arena.step(actions, 4)
        canvas = arena.canvas(index) if i % 5 == 0 else None
        digests.append(digest(seen.frames[rows[0]], seen.states[rows[0]], canvas))
    return digests


@pytest.fixture(scope="module")
def reference(game) -> list[str]:
    """Seed 11, played once."""
    return play_game(game, 11)


def test_a_seed_replays_bit_for_bit(game, reference):
    assert len(set(reference)) > 30  # it is a game, not a standstill
    # Games between, one of them into the night and past a high score, must leave nothing behind.
    game.restart(5, GameSettings(start_speed=13, clear_time_ms=1e9))
    game.browser.driver.execute_script("DinoBridge.runner().config.invertDistance = 5")
    assert game.step(1, 600).column("night")[0] == 1
    play_game(game, 12)
    assert play_game(game, 11) == reference


def test_a_seed_replays_in_an_arena(arena, reference):
    assert play_arena(arena, 0, 11) == reference
    assert play_arena(arena, 2, 11) == reference


def test_a_seed_replays_through_the_script_channel(reference, no_new_browsers):
    with Arena(1, channel="script") as arena:
        assert play_arena(arena, 0, 11) == reference


def test_a_seed_replays_in_another_process(reference, no_new_browsers):
    code = "from test_game import *\nwith Game() as game: print(*play_game(game, 11))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout.split() == reference, ran.stderr


def test_a_crashed_game_goes_back_to_a_moment_before(arena, reference):
    """All of its state and its frame are restored; and nothing of it remains in the next game."""
    settings = GameSettings(clear_time_ms=1500.0, action_delay=(0.5, 0.5), rewindable=True)
    back = set()
    for seed in range(6):
        seen = arena.step(resets={i: (7 + i, settings) for i in range(3)})
        passed = {}
        for action in itertools.cycle((0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2)):
            end = seen.column("frames")[0]
            passed[end] = (arena.state_numbers(0), seen.frames[0])
            if seen.crashed[0]:
                break
            seen = arena.step([action, 0, 0], 2)
        seen = arena.step(resets={0: (seed, None)})
        frames = seen.column("frames")[0]
        numbers, frame = passed[frames]
        assert arena.state_numbers(0) == numbers
        np.testing.assert_array_equal(seen.frames[0], frame)
        later = arena.step([0, 0, 0], 16)
        assert later.column("distance")[0] > seen.column("distance")[0]
        back.add(end - frames)
    assert min(back) >= 32
    assert max(back) <= 160
    assert len(back) > 1
    assert play_arena(arena, 0, 11) == reference


def test_going_back_depends_on_its_seed_alone(arena):
    settings = GameSettings(clear_time_ms=1500.0, rewindable=True)
    games = []
    for _ in range(2):
        arena.step(resets={i: (7, settings) for i in range(3)})
        while not arena.step([0, 0, 0], 4).crashed[0]:
            pass
        seen = [arena.step(resets={0: (3, None)})]
        seen += [arena.step([1, 0, 0], 4) for _ in range(50)]
        games.append([digest(one.frames[:1], one.states[:1], None) for one in seen])
    assert games[0] == games[1]


def test_a_game_too_short_to_go_back_starts_anew(arena):
    settings = GameSettings(start_speed=13, clear_time_ms=0.0, rewindable=True)
    arena.step(resets={i: (7, settings) for i in range(3)})
    arena.step([0, 0, 0], 20)
    seen = arena.step(resets={0: (3, None)})
    fresh = arena.step(resets={0: (3, settings)})
    assert digest(seen.frames[:1], seen.states[:1], None) == digest(fresh.frames[:1], fresh.states[:1], None)


def test_a_single_game_goes_back_as_in_an_arena(arena, game):
    settings = GameSettings(clear_time_ms=1500.0, rewindable=True)
    arena.step(resets={i: (7, settings) for i in range(3)})
    ours = game.restart(7, settings)
    while not ours.crashed[0]:
        ours = game.step(0, 4)
        theirs = arena.step([0, 0, 0], 4)
    end = ours.column("frames")[0]
    ours, theirs = game.restart(3, None), arena.step(resets={0: (3, None)})
    assert 0 < ours.column("frames")[0] < end
    for _ in range(50):
        np.testing.assert_array_equal(ours.frames[0], theirs.frames[0])
        np.testing.assert_array_equal(ours.states[0], theirs.states[0])
        ours, theirs = game.step(1, 4), arena.step([1, 0, 0], 4)


def test_other_seeds_are_other_games(game, reference):
    first, second = play_game(game, 12), play_game(game, 13)
    assert first != second
    assert reference not in (first, second)
    # Not only in their seed field: obstacles and clouds differ.
    frames = []
    for seed in (1, 2, 3):
        game.restart(seed, GameSettings(clear_time_ms=0.0))
        frames.append(game.step(0, 60).frames.tobytes())
    assert len(set(frames)) == 3


# --- The lock-step clock ---------------------------------------------------------------------------------


def test_a_step_is_exactly_its_frames(game):
    game.restart(1, GameSettings())
    before = game.state_numbers()
    for frames in (1, 4, 7):
        was = game.observe()
        now = game.step(0, frames)
        after = game.state_numbers()
        assert now.column("frames")[0] - was.column("frames")[0] == frames
        assert after["time"] - before["time"] == pytest.approx(frames * 1000 / 60, abs=1e-6)
        assert after["currentSpeed"] - before["currentSpeed"] == pytest.approx(0.001 * frames, abs=1e-9)
        run = after["distanceRan"] - before["distanceRan"]
        assert run == pytest.approx(frames * before["currentSpeed"], rel=0.001)
        before = after


def test_nothing_moves_between_steps(game):
    game.restart(2, GameSettings(clear_time_ms=0.0))
    game.step(1, 9)
    numbers, canvas = game.state_numbers(), game.canvas()
    time.sleep(0.3)
    assert game.state_numbers() == numbers
    np.testing.assert_array_equal(game.canvas(), canvas)


def durations(game: Game, settings: GameSettings, frames: int) -> np.ndarray:
    """How long each of a game's first frames lasts, in ms."""
    game.restart(3, settings)
    times = [game.state_numbers()["time"]]
    for _ in range(frames):
        game.step(0, 1)
        times.append(game.state_numbers()["time"])
    return np.diff(times)


def test_jitter_lengthens_and_shortens_frames(game):
    frames = durations(game, GameSettings(frame_jitter_ms=2.0), 30)
    assert np.abs(frames - 1000 / 60).max() <= 2.0
    assert frames.std() > 0.5


@pytest.mark.parametrize(("max_gap", "narrowest", "widest"), [(1.5, 1.0, 1.5), (0.8, 0.8, 1.0)])
def test_gaps_are_as_wide_as_asked_for(game, max_gap, narrowest, widest):
    speed, gaps = 13.0, []
    for seed in range(8):
        game.restart(seed, GameSettings(max_gap=max_gap, clear_time_ms=0.0, start_speed=speed))
        game.step(0, 20)
        numbers = game.state_numbers()
        # The game's own narrowest gap; a bird's is 18 pixels wider than a cactus's.
        own = numbers["horizon.obstacles.0.width"] * speed + 72
        gaps.append((numbers["horizon.obstacles.0.gap"] / own, 18 / own))
    assert all(narrowest - 0.01 < gap < widest * (1 + bird) + 0.01 for gap, bird in gaps)
    assert max(gap for gap, _ in gaps) - min(gap for gap, _ in gaps) > 0.05


def test_some_frames_last_twice_as_long(game):
    lasted = durations(game, GameSettings(long_frame_share=0.3), 60) / (1000 / 60)
    assert set(lasted.round(6).tolist()) == {1.0, 2.0}
    assert 8 <= (lasted > 1.5).sum() <= 30


def test_delayed_actions_arrive_late(game):
    def take_off(delay: tuple[float, ...]) -> int:
        game.restart(4, GameSettings(action_delay=delay))
        for frame in range(1, 10):
            if game.step(1, 1).column("jumping")[0]:
                return frame
        raise AssertionError("never jumped")

    assert take_off((1.0,)) == 1
    assert take_off((0.0, 1.0)) == 2
    assert take_off((0.0, 0.0, 0.0, 1.0)) == 4


# --- Every verb, three ways ------------------------------------------------------------------------------


def score_of(game: Game) -> int:
    return game.score


def start(game: Game):
    """A game without an obstacle for as long as a test takes."""
    if game.clock == "lockstep":
        return game.restart(1, GameSettings(clear_time_ms=1e9))
    seen = game.restart()
    game.browser.driver.execute_script("DinoBridge.runner().config.clearTime = 1e9")
    return seen


def crash(game: Game):
    """Let the dino run into what comes."""
    game.browser.driver.execute_script("DinoBridge.runner().config.clearTime = 0")
    deadline = time.monotonic() + 30
    while not game.crashed:
        assert time.monotonic() < deadline, "no crash within 30 s"
        game.step(0, 6)


def test_restart_score_playing_crashed(any_game):
    start(any_game)
    assert any_game.playing
    assert not any_game.crashed
    assert any_game.score < 10
    any_game.step(0, 60)
    assert 8 <= any_game.score < 40
    crash(any_game)
    assert any_game.crashed
    assert not any_game.playing
    score = any_game.score
    any_game.step(1, 4)
    assert any_game.score == score  # a crashed game stands still
    seen = start(any_game)
    assert not seen.crashed[0]
    assert any_game.playing
    assert any_game.score < 10


def step_until(game: Game, action: int, reached: Callable[[Observation], bool], frames: int = 90):
    """Step until something has come about: a live game's answer to a key may lie some steps ahead."""
    for _ in range(frames // 3):
        seen = game.step(action, 3)
        if reached(seen):
            return
    state = dict(zip(seen.fields, seen.states[0], strict=True))
    pytest.fail(f"not within {frames} frames of action {action}: {state}")


def test_up_down_and_release(any_game):
    ground = start(any_game).column("dino_y")[0]
    any_game.press_up()
    step_until(any_game, 1, lambda seen: seen.column("dino_y")[0] < ground - 20)
    any_game.press_down()
    step_until(any_game, 2, lambda seen: seen.column("ducking")[0] == 1)
    assert any_game.observe().column("dino_y")[0] == ground
    any_game.release()
    step_until(any_game, 0, lambda seen: seen.column("ducking")[0] == seen.column("jumping")[0] == 0)


def test_pause_and_resume(any_game):
    start(any_game)
    any_game.step(0, 20)
    any_game.pause()
    score = any_game.observe().column("distance")[0]
    assert any_game.observe().column("paused")[0] == 1
    if any_game.clock == "lockstep":
        any_game.step(0, 10)
    else:
        time.sleep(0.3)
    assert any_game.observe().column("distance")[0] == score
    any_game.resume()
    for _ in range(2):  # live, the first may be due already
        after = any_game.step(0, 6)
    assert after.column("paused")[0] == 0
    assert 0 < after.column("distance")[0] - score < 400


def heights(game: Game, actions: list[int]) -> np.ndarray:
    """How high the dino is above the ground after each frame."""
    ground = start(game).column("dino_y")[0]
    return np.array([ground - game.step(action, 1).column("dino_y")[0] for action in actions])


def test_letting_go_of_up_cuts_a_jump_short(game):
    held, tapped = heights(game, [1] * 40), heights(game, [1] * 5 + [0] * 35)
    assert 0 < tapped.max() < held.max() - 10
    assert (tapped > 0).sum() < (held > 0).sum()


def test_down_in_the_air_drops(game):
    falling, dropping = heights(game, [1] * 12 + [0] * 28), heights(game, [1] * 12 + [2] * 28)
    landed = [int(np.flatnonzero(h > 0)[-1]) for h in (falling, dropping)]
    assert landed[1] < landed[0] - 5


def test_a_held_jump_jumps_again(any_game):
    ground = start(any_game).column("dino_y")[0]
    landings, was_up = 0, False
    for _ in range(60):
        up = any_game.step(1, 3).column("dino_y")[0] < ground - 30
        landings += was_up and not up
        was_up = up
    assert landings >= 3


def test_a_held_duck_stays_down(any_game):
    start(any_game)
    ducking = [any_game.step(2, 4).column("ducking")[0] for _ in range(8)]
    assert ducking[1:] == [1.0] * 7


def test_end_ends_the_browser(no_new_browsers):
    game = Game()
    pid = game.browser.pid
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(tree) > 3
    game.end()
    game.end()  # twice is no error
    assert not still_running(tree, patience_s=0.5)


@pytest.mark.parametrize("clock", ["lockstep", "live"])
def test_a_browser_that_dies_is_an_error_of_one_line(clock, no_new_browsers):
    game = Game(clock)
    try:
        game.restart()
        for process in psutil.Process(game.browser.pid).children(recursive=True):
            process.kill()
        with pytest.raises(BrowserError, match="stopped answering"):
            game.step(0, 4)
    finally:
        game.end()


def test_the_browser_is_known_without_starting_it(game):
    assert installed_browser() == game.browser.name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere, nothing is asked of the system")
def test_the_browser_of_a_live_game_runs_before_other_work(game, live, monkeypatch, no_new_browsers):
    def policies(browser: Browser) -> set[int]:
        """Of the driver, and of the browser's processes."""
        return {os.sched_getscheduler(each.pid) for each in processes_of(browser.pid)}

    may_ask = subprocess.run(["chrt", "--rr", "1", "true"], capture_output=True).returncode == 0
    assert policies(game.browser) == {os.SCHED_OTHER}
    assert policies(live.browser) == {os.SCHED_RR if may_ask else os.SCHED_OTHER}

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with Browser(real_time=True) as browser:
        assert policies(browser) == {os.SCHED_OTHER}


def test_what_a_game_cannot_be():
    with pytest.raises(DinoError, match="lockstep or live"):
        Game("slow")
    with pytest.raises(DinoError, match="chrome://dino"):
        Game("live", "http://example.com")
    with pytest.raises(DinoError, match="live clock"):
        Game("lockstep", UNTOUCHED)


# --- An arena --------------------------------------------------------------------------------------------


def test_games_of_an_arena_are_apart(arena):
    arena.step(resets={i: (i, GameSettings(clear_time_ms=1e9, dino_x=10 * i)) for i in range(3)})
    seen = arena.step([0, 1, 2], 8)
    assert seen.frames.shape == (3, 80, 80)
    assert seen.column("seed").tolist() == [0, 1, 2]
    assert seen.column("jumping").tolist() == [0, 1, 0]
    assert seen.column("ducking").tolist() == [0, 0, 1]
    assert seen.column("dino_x").tolist() == [0, 10, 20]
    assert len({frame.tobytes() for frame in seen.frames}) == 3


def test_a_reset_moves_no_other_game(arena):
    arena.step(resets={i: (i, GameSettings()) for i in range(3)})
    before = arena.step([0, 0, 0], 10)
    after = arena.step([0, 1, 0], 5, resets={1: (9, GameSettings())})
    assert after.column("frames").tolist() == [15, 0, 15]  # a game just reset does not move
    assert after.column("seed").tolist() == [0, 9, 2]
    still = arena.step(resets={0: (7, GameSettings())})
    np.testing.assert_array_equal(still.states[1:], after.states[1:])
    np.testing.assert_array_equal(still.frames[1:], after.frames[1:])
    assert before.column("frames").tolist() == [10, 10, 10]


def test_a_crashed_game_waits_while_others_go_on(arena):
    settings = [GameSettings(clear_time_ms=0.0, start_speed=10.0), *[GameSettings(clear_time_ms=1e9)] * 2]
    arena.step(resets={i: (3, settings[i]) for i in range(3)})
    seen = arena.step([0, 0, 0], 300)
    assert seen.crashed.tolist() == [True, False, False]
    later = arena.step([1, 1, 1], 4)
    np.testing.assert_array_equal(later.states[0], seen.states[0])
    np.testing.assert_array_equal(later.frames[0], seen.frames[0])
    assert (later.column("frames")[1:] == 304).all()
    assert seen.column("frames")[0] < 300  # a step stops at the crash


def test_watching_changes_no_frame(arena, game, monkeypatch):
    def play(draws: bool) -> list[bytes]:
        arena.step(resets={i: (21 + i, VARIED) for i in range(3)})
        seen = [
            arena.step(actions, 4, draws=draws)
            for actions in zip(*[script_of_actions(i, 25) for i in range(3)], strict=False)
        ]
        assert all(bool(s.draws) == draws for s in seen)
        return [s.frames.tobytes() + s.states.tobytes() for s in seen]

    assert play(False) == play(True)
    quiet = play_game(game, 11)
    monkeypatch.setattr(game, "_visible", True)  # as in a window
    game.annotate(values=[0.1, 0.3, 0.2], action=1, title="annotated")
    game.picture_wanted = True
    assert play_game(game, 11) == quiet
    assert game.picture.startswith(b"\x89PNG")
    assert not game.picture_wanted
    assert "annotated" in game.browser.driver.execute_script("return document.body.innerText")


def test_draws_are_what_the_canvas_shows(arena):
    """Painted as the dashboard paints them, by other code."""
    arena.step(resets={i: (30 + i, VARIED) for i in range(3)})
    seen = arena.step([0, 1, 0], 70, draws=True)
    sheets = [
        np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))
        for url in arena.sheets
    ]
    numbers = np.frombuffer(seen.draws, np.int16).tolist()
    for game in range(3):
        expected = arena.canvas(game)
        painted = Image.new("RGBA", (expected.shape[1], 150), (0, 0, 0, 0))
        count = numbers.pop(0)
        assert count > 3
        for _ in range(count):
            sheet, sx, sy, width, height, x, y, opacity = (numbers.pop(0) for _ in range(8))
            part = sheets[sheet][sy : sy + height, sx : sx + width].astype(float)
            part[..., 3] *= opacity / 100
            layer = Image.new("RGBA", painted.size, (0, 0, 0, 0))
            layer.paste(Image.fromarray(part.round().astype(np.uint8)), (x, y))
            painted = Image.alpha_composite(painted, layer)
        white = Image.alpha_composite(Image.new("RGBA", painted.size, "white"), painted).convert("RGB")
        difference = np.abs(np.asarray(white).astype(int) - expected)
        assert difference.max() <= 3  # rounding of opacities
    assert numbers == []


# --- Nothing around the game changes it ------------------------------------------------------------------

DISTURB = {
    "blur": "window.dispatchEvent(new Event('blur'))",
    "focus": "window.dispatchEvent(new Event('focus'))",
    "hidden": "document.dispatchEvent(new Event('visibilitychange'))",
    "resize": "window.dispatchEvent(new Event('resize'))",
}


def test_disturbances_change_no_bit(game, reference):
    digests = []
    try:
        seen = game.restart(11, VARIED)
        digests.append(digest(seen.frames, seen.states, game.canvas()))
        for i, action in enumerate(script_of_actions(11, 60)):
            if i % 6 == 0:
                game.browser.driver.execute_script(list(DISTURB.values())[i // 6 % 4])
            if i in (10, 20):
                size = {"width": 390 * (i // 10), "height": 400, "deviceScaleFactor": i / 10, "mobile": False}
                game.browser.cdp("Emulation.setDeviceMetricsOverride", size)
                time.sleep(0.4)  # a page answers to a resize after 250 ms
            seen = game.step(action, 4)
            digests.append(digest(seen.frames, seen.states, game.canvas() if i % 5 == 0 else None))
    finally:
        game.browser._pin()
    assert digests == reference


@pytest.fixture
def awkward_browser(monkeypatch):
    """Browsers start small, dark and with two device pixels for each CSS pixel."""
    awkward = (
        "--force-device-scale-factor=2",
        "--force-dark-mode",
        "--blink-settings=preferredColorScheme=0",
    )
    monkeypatch.setattr(chrome_module, "QUIET_ARGUMENTS", (*chrome_module.QUIET_ARGUMENTS, *awkward))
    monkeypatch.setattr(Browser.__init__, "__defaults__", (True, (420, 320)))


def test_a_small_dark_dense_window_shows_the_same_game(awkward_browser, reference, no_new_browsers):
    with Game() as game:
        assert play_game(game, 11) == reference


def test_a_small_dark_dense_window_plays_the_same_live_game(awkward_browser, no_new_browsers):
    with Game("live", UNTOUCHED) as game:
        game.restart()
        numbers = game.state_numbers()
        assert not numbers["isDarkMode"]
        assert (numbers["canvas.width"], numbers["canvas.height"]) == (600, 150)
        assert numbers["dimensions.width"] == 600
        canvas = game.canvas()
        assert canvas.shape == (150, 600, 3)
        assert (canvas == 255).mean() > 0.8  # by day, on white
        game.browser.driver.execute_script(DISTURB["hidden"])
        assert game.step(0, 4).column("paused")[0] == 0


def test_the_score_goes_on_where_the_digits_wrap(game):
    game.restart(1, GameSettings(clear_time_ms=1e9))
    for points in (99_990, 100_010, 999_990, 1_000_010):
        game.browser.driver.execute_script("DinoBridge.runner().distanceRan = arguments[0]", points * 40)
        for ahead in (1, 2):
            game.step(0, 30)
            assert points + 4 * ahead <= game.score <= points + 6 * ahead
    assert game.step(0, 1).scores.dtype == np.int64


def test_the_score_is_the_one_on_the_screen(game):
    game.restart(1, GameSettings(clear_time_ms=1e9))
    for frames in (1, 50, 333):
        game.step(0, frames)
        digits = "const d = DinoBridge.runner().distanceMeter.digits; return Number(d.join(''))"
        game.browser.driver.execute_script(
            "const r = DinoBridge.runner(); r.distanceMeter.achievement = false; "
            "r.distanceMeter.update(0, Math.ceil(r.distanceRan))"
        )
        assert game.browser.driver.execute_script(digits) == game.score


# --- Lock-step and live are one game ---------------------------------------------------------------------

CARD = json.loads((ROOT / "models" / "best.json").read_text(encoding="utf-8"))
TRAINED_DINO_X = CARD["env"]["variation"]["dino_x"]  # of the shipped model
CLOCK = "the page's own clock, or a count of what has happened since it was loaded"
MOVED = "a live game is some frames old when it is looked at"
CHANCE = "drawn at random by the game"
PATIENT = "the dino has jumped: that is how a person starts the game"
SCORES = "a live game shows the high score of the games before, in rows that the frame does not include"
# Every number in which a lock-step game after its reset may differ from a live game after intro and restart:
# path, reason, and what holds of the live value. Anything else that differs is a bug.
DIFFERENCES = {
    r"time": (CLOCK, lambda v: v > 0),
    r"raqId": (CLOCK, lambda v: v > 0),
    r"playCount": (CLOCK, lambda v: v > 0),
    r"tRex\.animStartTime": (CLOCK, lambda v: v > 0),
    r"runningTime": (MOVED, lambda v: 0 <= v < 2500),
    r"distanceRan": (MOVED, lambda v: 0 <= v < 1000),
    r"currentSpeed": (MOVED, lambda v: 6 <= v < 6.2),
    r"horizon\.horizonLines\.0\.xPos\.\d": (MOVED, lambda v: -600 <= v <= 600),
    r"horizon\.horizonLines\.0\.sourceXPos\.\d": (CHANCE, lambda v: v in (2, 602)),
    r"tRex\.(timer|currentFrame)": (MOVED, lambda v: 0 <= v < 1000),
    r"distanceMeter\.(digits|flashTimer|flashIterations).*": (MOVED, lambda v: v >= 0),
    r"horizon\.clouds\..*": (CHANCE, lambda v: True),
    r"horizon\.nightMode\.stars\..*": (CHANCE, lambda v: v >= 0),
    r"tRex\.blinkDelay": (CHANCE, lambda v: 0 <= v <= 7000),
    r"tRex\.reachedMinHeight": (PATIENT, lambda v: v is True),
    r"highestScore": (SCORES, lambda v: v >= 0),
    r"distanceMeter\.highScoreBounds\..*": (SCORES, lambda v: v >= 0),
    r"syncHighestScore": (
        "the untouched page keeps its high score in the user's profile",
        lambda v: v is True,
    ),
    r"tRex\.(xPos|xInitialPos)": (
        "the intro moves the dino, by the display's frame rate: training varies it (GameVariation.dino_x)",
        lambda v: TRAINED_DINO_X[0] <= v <= TRAINED_DINO_X[1],
    ),
}


@pytest.fixture(params=[None, UNTOUCHED], ids=["live", "untouched"])
def new_live(request, no_new_browsers):
    """A live game of which nothing is left from games before: a night moves the moon for good."""
    with Game("live", request.param) as game:
        yield game


def test_a_lock_step_game_is_the_live_game(game, new_live):
    new_live.restart()
    theirs = new_live.state_numbers()
    game.restart(1)
    ours = game.state_numbers()
    assert len(ours) > 250
    unexplained = {}
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) == theirs.get(path):
            continue
        reasons = [check for pattern, (_, check) in DIFFERENCES.items() if re.fullmatch(pattern, path)]
        if not reasons or (path in theirs and not reasons[0](theirs[path])):
            unexplained[path] = (ours.get(path), theirs.get(path))
    assert not unexplained


@pytest.mark.parametrize("page", ["live", "untouched"])
def test_live_frames_are_lock_step_frames(game, page, request):
    """Same sky aside, what an agent sees at the start is the same under both clocks."""
    live = request.getfixturevalue(page)
    start(live)
    numbers = live.state_numbers()
    seen = live.step(0, 30)
    x = int(numbers["tRex.xPos"])
    game.restart(1, GameSettings(clear_time_ms=1e9, dino_x=x))
    for _ in range(12):  # the legs have two positions: wait for the same
        ours = game.step(0, 3).frames[0]
        dino = np.s_[45:75, : (x + 44) * 80 // 600]
        if np.abs(ours[dino].astype(int) - seen.frames[0][dino]).mean() < 4:
            return
    raise AssertionError("the dino looks different")


def test_a_live_observation_is_of_the_frame_just_drawn(untouched):
    """And not of the one before, which would be a frame of delay in every decision."""
    start(untouched)
    fresh = untouched.browser.driver.execute_async_script("""
        const done = arguments[0];
        const r = DinoBridge.runner();
        const update = r.update;
        let updated = null;
        r.update = (...rest) => {
          updated = document.timeline.currentTime; // one value for all callbacks of a frame
          return update.apply(r, rest);
        };
        const fresh = [];
        const look = () => DinoBridge.observe(2).then(() => {
          fresh.push(updated === document.timeline.currentTime);
          if (fresh.length < 20) return look();
          delete r.update;
          done(fresh);
        });
        look();""")
    assert sum(fresh) >= 18  # the page takes up the new `update` after a frame or two


def test_live_frames_are_counted_from_the_start_of_a_game(live):
    """`GameVariation.max_frames` ends live games, too."""
    for _ in range(2):
        assert start(live).column("frames")[0] < 10
        assert 30 <= live.step(0, 30).column("frames")[0] < 60


def test_live_keys_are_real_and_quick(untouched):
    start(untouched)
    untouched.take_delays()
    for action in (1, 0, 2, 0) * 4:
        untouched.step(action, 5)
    delays = untouched.take_delays()
    assert len(delays["frames"]) == len(delays["milliseconds"]) == 16  # only trusted events are counted
    assert np.median(delays["frames"]) <= 3
    assert min(delays["milliseconds"]) >= 0


def test_keys_that_start_the_next_game_are_not_counted(untouched):
    start(untouched)
    untouched.step(1, 2)
    untouched.browser.driver.execute_script("DinoBridge.runner().gameOver()")
    assert untouched.step(1, 2).crashed[0]
    untouched.take_delays()
    untouched.restart()  # releases up, and presses Enter
    assert untouched.take_delays()["milliseconds"] == []


# --- The page --------------------------------------------------------------------------------------------


def cached_page() -> Path:
    pages = list((cache_dir() / "pages").glob("*.html"))
    assert len(pages) == 1
    return pages[0]


@pytest.fixture
def own_cache(game, tmp_path, monkeypatch) -> Path:
    """A cache of this test's own, with the page as it was extracted."""
    text = cached_page().read_text(encoding="utf-8")
    name = cached_page().name
    monkeypatch.setenv("DINO_RL_CACHE", str(tmp_path))
    page = tmp_path / "pages" / name
    page.parent.mkdir()
    page.write_text(text, encoding="utf-8")
    return page


def test_the_cached_page_is_used(own_cache, no_new_browsers):
    text = own_cache.read_text(encoding="utf-8")
    marked = text.replace("<head>", "<head><script>window.fromTheCache = 1</script>", 1)
    own_cache.write_text(marked, encoding="utf-8")
    with Game() as game:
        assert game.browser.driver.execute_script("return window.fromTheCache") == 1
    assert own_cache.read_text(encoding="utf-8") == marked


def test_a_truncated_page_is_extracted_again(own_cache, no_new_browsers):
    text = own_cache.read_text(encoding="utf-8")
    own_cache.write_text(text[: len(text) // 2], encoding="utf-8")
    with Game() as game:
        assert game.restart(1).frames.any()
    assert own_cache.read_text(encoding="utf-8") == text
    assert [path.name for path in own_cache.parent.iterdir()] == [own_cache.name]


@pytest.mark.parametrize(
    ("clock", "name", "missing"),
    [
        ("lockstep", "getInstance", "Runner.getInstance"),
        ("live", "getInstance", "Runner.getInstance"),
        ("lockstep", "distanceRan", "distanceRan"),
        ("live", "invertDistance", "config.invertDistance"),
    ],
)
def test_a_page_that_lacks_something_is_named(clock, name, missing, own_cache, no_new_browsers):
    text = own_cache.read_text(encoding="utf-8")
    own_cache.write_text(re.sub(rf"\b{name}\b", name + "Renamed", text), encoding="utf-8")
    with pytest.raises(PageError, match=rf"(?s){missing}.*known to work") as caught:
        Game(clock)
    assert "\n" not in str(caught.value)


def test_an_arena_names_what_a_page_lacks(own_cache, no_new_browsers):
    text = own_cache.read_text(encoding="utf-8")
    own_cache.write_text(text.replace("obstacleTypes", "kindsOfObstacle"), encoding="utf-8")
    with pytest.raises(PageError, match=r"horizon.obstacleTypes.*known to work"):
        Arena(2)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (partial(Arena, 2), "arena.js"),
        (partial(Arena, 2), "snapshot.js"),  # of the frames only
        (partial(Game, "lockstep"), "bridge.js"),
        (partial(Game, "live"), "live_watch.js"),
    ],
)
def test_a_page_that_arrives_in_part_is_a_fault_of_the_browser(make, name, monkeypatch, no_new_browsers):
    """As when Chromium's network process is killed: another browser may do."""
    open_all = Browser.open

    def open_without(browser: Browser, url: str):
        browser.cdp("Network.enable", {})
        browser.cdp("Network.setBlockedURLs", {"urls": [f"*/{name}"]})
        open_all(browser, url)

    monkeypatch.setattr(Browser, "open", open_without)
    with pytest.raises(BrowserError, match=name) as caught:
        make()
    assert caught.value.retry


def test_no_line_of_the_page_is_kept_here(game):
    page = {line.strip() for line in cached_page().read_text(encoding="utf-8").splitlines()}
    page = {line for line in page if len(line) > 40}
    assert len(page) > 1000
    texts = {path: path.read_bytes().decode("utf-8", errors="replace") for path in project_files()}
    assert len(texts) > 30
    assert [path for path, text in texts.items() if page & {line.strip() for line in text.splitlines()}] == []
