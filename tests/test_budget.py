"""The number of steps of a run: given, or measured at its start."""

from dataclasses import replace

import numpy as np
import pytest
from test_train import LOGIC, Worlds, callback_of, changed, comparable, train

from dino_rl.training.budget import MAX_CALIBRATION_SHARE, TRAINING_TIME_SHARE, Budget
from dino_rl.training.callbacks import VALIDATION_STEPS_PER_POINT, Validation
from dino_rl.training.run import Run, RunConfig

TIMED = RunConfig(minutes=10.0, calibration_steps=1_000)


def budget_of(config: RunConfig, state: dict | None = None) -> Budget:
    return Budget(config.steps, config.minutes, config.calibration_steps, state)


def run_at(rate: float, config: RunConfig, state: dict | None = None, start: int = 0) -> Budget:
    """The budget of a run of `rate` steps a second, after its calibration."""
    budget = budget_of(config, state)
    for step in range(start, config.calibration_steps + 100, 10):
        budget.measure(step, step / rate)
    return budget


def test_steps_that_are_given_are_the_steps():
    for minutes in (None, 10.0):
        budget = run_at(200, replace(TIMED, steps=5_000, minutes=minutes))
        assert budget.total == 5_000
        assert budget.progress(5_000) == budget.progress(6_000) == 1.0


@pytest.mark.parametrize("rate", [50, 400, 3000])
def test_a_time_limit_becomes_steps_by_the_measured_rate(rate):
    budget = run_at(rate, TIMED)
    assert budget.total == pytest.approx(rate * 600 * TRAINING_TIME_SHARE, rel=0.02)


def test_the_rate_is_that_of_the_second_half_of_the_calibration():
    """The first updates compile for seconds: they say nothing about the rest."""
    budget = budget_of(TIMED)
    for step in range(0, 1_100, 10):
        budget.measure(step, step / 100 + (20 if step > 400 else 0))
    expected = 1_000 + 100 * (600 - 30) * TRAINING_TIME_SHARE
    assert budget.total == pytest.approx(expected, rel=0.02)


def test_it_is_measured_once():
    budget = run_at(100, TIMED)
    total = budget.total
    budget.measure(30_000, 1e6)
    assert budget.total == total


def test_before_the_calibration_ends_nothing_is_known_and_nothing_moves():
    budget = budget_of(TIMED)
    budget.measure(900, 9.0)
    assert budget.total is None
    assert budget.progress(900) == 0.0


def test_progress_is_linear_after_the_calibration():
    budget = budget_of(replace(TIMED, steps=21_000))
    assert budget.progress(0) == budget.progress(1_000) == 0.0
    assert budget.progress(11_000) == pytest.approx(0.5)
    assert budget.progress(21_000) == 1.0


def test_the_calibration_is_a_quarter_of_a_short_run():
    assert budget_of(replace(TIMED, steps=200)).progress(125) == pytest.approx(0.5)
    # A run whose time has room for fewer steps than that is planned for more, and the clock ends it.
    assert run_at(0.1, TIMED).total == 1_000 / MAX_CALIBRATION_SHARE


@pytest.mark.parametrize("minutes", [10.0, 20.0])
def test_a_resumed_run_keeps_its_steps_unless_its_time_changes(minutes):
    state = {"step": 2_000, "seconds": 20.0, **run_at(100, TIMED).state()}
    resumed = budget_of(replace(TIMED, minutes=minutes), state)
    assert resumed.total == pytest.approx(run_at(100, TIMED).total * minutes / 10)
    assert budget_of(replace(TIMED, steps=7_000), state).total == 7_000


def test_a_run_of_the_version_before_is_measured_by_what_it_did():
    assert budget_of(TIMED, {"step": 3_000, "seconds": 60.0}).total == 30_000
    assert budget_of(TIMED, {"step": 0, "seconds": 0.0}).total is None


def test_a_run_with_a_time_limit_is_the_run_with_its_number_of_steps(monkeypatch, tmp_path):
    """The card's command repeats a run: the same episodes, validations and weights."""
    worlds = Worlds(monkeypatch)
    monkeypatch.setattr(Run, "seconds", property(lambda run: run.step / 20))
    timed = changed(LOGIC, run={"steps": None, "minutes": 1.0, "calibration_steps": 60})
    first = train(timed, tmp_path / "timed")
    total = first.budget.total
    assert first.step == pytest.approx(total, abs=3)
    assert total == pytest.approx(60 * 20 * TRAINING_TIME_SHARE, rel=0.05)
    again = train(changed(timed, run={"steps": total, "minutes": None}), tmp_path / "steps")
    assert len(worlds.made) == 2
    for name in ("episodes.csv", "validations.csv"):
        assert comparable(tmp_path / "timed", name) == comparable(tmp_path / "steps", name)
    for ours, theirs in zip(
        first.algorithm.agent.network.get_weights(), again.algorithm.agent.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_clock_ends_a_run_that_is_slower_than_it_was_measured(monkeypatch, tmp_path):
    Worlds(monkeypatch)
    slower = property(lambda run: run.step / 20 + max(0, run.step - 300) / 2)
    monkeypatch.setattr(Run, "seconds", slower)
    run = train(changed(LOGIC, run={"steps": None, "minutes": 1.0, "calibration_steps": 60}), tmp_path)
    assert run.out_of_time
    assert run.progress < 0.5
    assert (tmp_path / "checkpoint" / "state.json").exists()


@pytest.mark.parametrize(("steps", "cap"), [(600, 25), (120_000, 200), (10**9, 10_000)])
def test_validation_games_end_earlier_in_short_runs(monkeypatch, tmp_path, steps, cap):
    Worlds(monkeypatch)
    run = train(changed(LOGIC, run={"steps": 6, "validations": 0}), tmp_path)
    run.budget.total = steps
    assert VALIDATION_STEPS_PER_POINT == 600
    assert callback_of(run, Validation).max_score(run) == cap


def test_validations_play_no_more_than_their_share(monkeypatch, tmp_path):
    worlds = Worlds(monkeypatch)
    # Each plays 4 steps: at a share of 0.01 the next one comes 400 environment steps later.
    train(changed(LOGIC, run={"validations": 100, "validation_share": 0.01}), tmp_path)
    assert worlds.validations == 3  # at the start, after 400 steps, and at the end
