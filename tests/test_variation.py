"""Games drawn at random for training, without a browser."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs.dino.variation import GameVariation
from dino_rl.errors import ConfigError

VARIATION = GameVariation(
    base=GameSettings(clear_time_ms=300.0),
    start_speed=(7.0, 12.0),
    random_start_share=0.5,
    full_speed_share=0.2,
    constant_speed_share=0.1,
    tight_gaps_share=0.4,
    tightest_gap=0.8,
    rewind_share=0.5,
    frame_jitter_ms=(0.1, 10.0),
    long_frame_share=(0.0, 0.02),
    dino_x=(0, 50),
    delay_concentrations=(0.3, 0.3, 0.3),
    night_every=(50, 700),
    bird_odds=(1, 5),
)


def test_drawn_games_are_in_their_ranges_and_fill_them():
    rng = np.random.default_rng(1)
    games = [VARIATION.draw(rng) for _ in range(20_000)]
    starts = np.array([game.start_speed for game in games])
    assert 0.15 < (starts == 12.0).mean() < 0.25
    fast = starts[(starts != 6.0) & (starts != 12.0)]
    assert 0.45 < len(fast) / len(games) < 0.55
    assert 7.0 <= min(fast) < 7.1
    assert 11.9 < max(fast) < 12.0
    constant = [game for game in games if game.constant_speed]
    assert 0.07 < len(constant) / len(games) < 0.13
    assert {game.start_speed for game in constant} == {6.0}
    assert {game.dino_x for game in games} == set(range(51))
    delays = np.array([game.action_delay for game in games])
    assert delays.shape == (20_000, 3)
    np.testing.assert_allclose(delays.sum(axis=1), 1)
    np.testing.assert_allclose(delays.mean(axis=0), 1 / 3, atol=0.03)
    assert (delays.max(axis=1) > 0.9).mean() > 0.3  # mostly one delay in a game
    assert {game.clear_time_ms for game in games} == {300.0}
    gaps = np.array([game.max_gap for game in games])
    assert 0.35 < (gaps < 1.5).mean() < 0.45
    assert 0.8 <= gaps.min() < 0.82
    assert {game.night_every for game in games} == set(range(50, 701))
    assert {game.bird_odds for game in games} == {1, 2, 3, 4, 5}
    assert {(game.frame_jitter_ms, game.long_frame_share) for game in constant} == {(0.0, 0.0)}
    games = [game for game in games if not game.constant_speed]
    jitters = np.array([game.frame_jitter_ms for game in games])
    assert 0.1 <= jitters.min() < 0.11
    assert 9.5 < jitters.max() <= 10
    assert 0.45 < (jitters < 1).mean() < 0.55  # log-uniformly
    assert 0.009 < np.mean([game.long_frame_share for game in games]) < 0.011
    assert all(game.rewindable for game in games)


@pytest.mark.parametrize("name", ["bird_odds", "night_every", "start_speed"])
def test_a_range_that_descends_is_refused(name):
    with pytest.raises(ConfigError, match=rf"^{name} is \[9, 7\]: the lower end"):
        replace(VARIATION, **{name: (9, 7)})


def test_no_variation_draws_the_base():
    base = GameSettings(birds=False, constant_speed=True, dino_x=24)
    assert GameVariation(base=base).draw(np.random.default_rng(0)) == base


def test_games_that_vary_as_live_ones_do_are_whole_games_around_a_base():
    base = GameSettings(constant_speed=True)
    rng = np.random.default_rng(0)
    games = [VARIATION.as_live(base, max_frames=500).draw(rng) for _ in range(500)]
    assert VARIATION.as_live(base, max_frames=500).max_frames == 500
    for name in ("dino_x", "frame_jitter_ms", "long_frame_share", "action_delay"):
        assert len({getattr(game, name) for game in games}) > 20, name
    changes = {name: getattr(base, name) for name in ("dino_x", "frame_jitter_ms", "long_frame_share")}
    assert {replace(game, action_delay=base.action_delay, **changes) for game in games} == {base}


def test_equal_generators_draw_equal_games():
    first, second = ([VARIATION.draw(np.random.default_rng(7)) for _ in range(5)] for _ in range(2))
    assert first == second


def test_the_order_of_the_draws_is_fixed():
    """Training runs with one seed must stay equal from version to version."""
    rng = np.random.default_rng(5)
    variation = replace(VARIATION, bird_odds=None)
    last = [variation.draw(rng) for _ in range(3)][-1]
    assert (last.night_every, last.dino_x, last.constant_speed) == (62, 15, False)
    assert last.start_speed == pytest.approx(9.183335260878263)
    assert last.max_gap == pytest.approx(1.0274598512029243)
    assert last.frame_jitter_ms == pytest.approx(2.6001064862164642)
    assert last.action_delay == pytest.approx((0.8839891766434016, 0.002874618116194074, 0.11313620524040417))
    assert rng.random() == pytest.approx(0.23551645730617143)


def test_configuration_loads_without_a_browser_or_tensorflow():
    code = """
import sys
import dino_rl.envs.dino.variation
print({"selenium", "tensorflow", "keras", "cv2", "websockets"} & sys.modules.keys())"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("set()", "")
