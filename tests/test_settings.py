"""Settings: presets, schedules, variation, and the way through JSON."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from dino_rl.agents.networks import TORSOS
from dino_rl.envs.dino import REWARDS
from dino_rl.errors import DinoError
from dino_rl.settings import (
    DINO_ID,
    PRESETS,
    DQNSettings,
    EnvSettings,
    GameSettings,
    GameVariation,
    RunSettings,
    from_dict,
    preset,
)

OURS = [name for name in PRESETS if not name.startswith("tiny")]  # other tests add some of their own


@pytest.mark.parametrize("name", OURS)
def test_a_preset_survives_json(name):
    text = json.dumps(asdict(preset(name)))
    assert from_dict(RunSettings, json.loads(text)) == preset(name)


@pytest.mark.parametrize("name", OURS)
def test_a_preset_fits_together(name):
    settings = preset(name)
    assert settings.dqn.network in TORSOS
    assert settings.env.reward in REWARDS
    assert settings.env.greedy_envs < settings.env.num_envs
    if settings.env.id == DINO_ID:
        assert len(settings.dqn.random_action_weights) >= settings.env.num_actions
    else:
        assert settings.dqn.random_action_weights == ()
        assert settings.env.stack_stride == 1
        assert settings.cem.sessions % settings.env.num_envs == 0 or settings.algorithm != "cem"
    assert settings.steps or settings.minutes
    assert settings.dqn.replay_capacity >= 50_000


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(DinoError, match=r"'quick'.*dino"):
        preset("quick")


def test_a_field_of_another_version_is_refused():
    with pytest.raises(TypeError, match="colour"):
        from_dict(RunSettings, {"env": {"colour": 1}})


def test_epsilon_falls_through_its_knee_to_its_end():
    dqn = DQNSettings(epsilon_start=0.3, epsilon_knee=0.01, epsilon_knee_at=0.25, epsilon_end=0.0)
    assert dqn.epsilon(0) == pytest.approx(0.3)
    assert dqn.epsilon(0.125) == pytest.approx((0.3 + 0.01) / 2)
    assert dqn.epsilon(0.25) == pytest.approx(0.01)
    assert dqn.epsilon(0.625) == pytest.approx(0.005)
    assert dqn.epsilon(1) == pytest.approx(0)


def test_epsilon_with_its_knee_at_the_end():
    dqn = DQNSettings(epsilon_start=0.1, epsilon_knee=0.02, epsilon_knee_at=1.0, epsilon_end=0.01)
    assert dqn.epsilon(0.5) == pytest.approx(0.06)
    assert 0.01 <= dqn.epsilon(1) <= 0.02


def test_the_learning_rate_is_held_and_then_falls():
    dqn = DQNSettings(learning_rate=1e-3, learning_rate_end=1e-4, learning_rate_decay_from=0.6)
    assert dqn.learning_rate_at(0) == dqn.learning_rate_at(0.6) == pytest.approx(1e-3)
    assert dqn.learning_rate_at(0.8) == pytest.approx(5.5e-4)
    assert dqn.learning_rate_at(1) == pytest.approx(1e-4)


def test_drawn_games_lie_in_their_ranges_and_fill_them():
    variation = GameVariation(
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
    )
    rng = np.random.default_rng(1)
    games = [variation.draw(rng) for _ in range(20_000)]
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
    assert {(game.frame_jitter_ms, game.long_frame_share) for game in constant} == {(0.0, 0.0)}
    games = [game for game in games if not game.constant_speed]
    jitters = np.array([game.frame_jitter_ms for game in games])
    assert 0.1 <= jitters.min() < 0.11
    assert 9.5 < jitters.max() <= 10
    assert 0.45 < (jitters < 1).mean() < 0.55  # log-uniformly
    assert 0.009 < np.mean([game.long_frame_share for game in games]) < 0.011
    assert all(game.rewindable for game in games)


def test_no_variation_draws_the_base():
    base = GameSettings(birds=False, constant_speed=True, dino_x=24)
    assert GameVariation(base=base).draw(np.random.default_rng(0)) == base


def test_games_that_vary_as_live_ones_do_are_whole_games_around_a_base():
    varied = PRESETS["dino"].env.variation
    base = GameSettings(constant_speed=True)
    rng = np.random.default_rng(0)
    games = [varied.as_live(base, max_frames=500).draw(rng) for _ in range(500)]
    assert varied.as_live(base, max_frames=500).max_frames == 500
    for name in ("dino_x", "frame_jitter_ms", "long_frame_share", "action_delay"):
        assert len({getattr(game, name) for game in games}) > 20, name
    changes = {name: getattr(base, name) for name in ("dino_x", "frame_jitter_ms", "long_frame_share")}
    assert {replace(game, action_delay=base.action_delay, **changes) for game in games} == {base}


def test_equal_generators_draw_equal_games():
    variation = PRESETS["dino"].env.variation
    first, second = ([variation.draw(np.random.default_rng(7)) for _ in range(5)] for _ in range(2))
    assert first == second


def test_defaults_are_written_once():
    assert PRESETS["dino"] == RunSettings() == from_dict(RunSettings, {})
    assert replace(EnvSettings(), num_envs=3).variation == EnvSettings().variation
