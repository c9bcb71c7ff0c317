"""The behaviour policy: its schedule, its random actions, and each environment's own epsilon."""

import numpy as np
import pytest

from dino_rl.agents.exploration import ExplorationConfig, Explorer, epsilon_greedy
from dino_rl.errors import DinoError


def make_explorer(
    num_envs: int, num_actions: int = 3, greedy_envs: int = 0, seed: int = 0, **config
) -> Explorer:
    rng = np.random.default_rng(seed)
    return Explorer(ExplorationConfig(**config), num_actions, num_envs, greedy_envs, rng)


# --- The schedule ----------------------------------------------------------------------------------------


def test_epsilon_falls_to_its_knee_and_then_to_its_end():
    config = ExplorationConfig(epsilon_start=0.3, epsilon_knee=0.01, epsilon_knee_at=0.25, epsilon_end=0.0)
    assert config.epsilon(0) == pytest.approx(0.3)
    assert config.epsilon(0.125) == pytest.approx((0.3 + 0.01) / 2)
    assert config.epsilon(0.25) == pytest.approx(0.01)
    assert config.epsilon(0.625) == pytest.approx(0.005)
    assert config.epsilon(1) == pytest.approx(0)


def test_epsilon_with_its_knee_at_the_end():
    config = ExplorationConfig(epsilon_start=0.1, epsilon_knee=0.02, epsilon_knee_at=1.0, epsilon_end=0.01)
    assert config.epsilon(0.5) == pytest.approx(0.06)
    assert 0.01 <= config.epsilon(1) <= 0.02


def test_floors_are_spaced_over_the_exploring_environments():
    schedule = {"epsilon_start": 0.05, "epsilon_knee": 0.05, "epsilon_end": 0.05}
    explorer = make_explorer(5, greedy_envs=2, epsilon_floors=(0.01, 1.0), **schedule)
    np.testing.assert_allclose(explorer.epsilons(0.5), (0.05, 0.1, 1.0, 0, 0))
    np.testing.assert_allclose(make_explorer(3, greedy_envs=1, **schedule).epsilons(1.0), (0.05, 0.05, 0))


# --- Random actions --------------------------------------------------------------------------------------


def test_epsilon_greedy_rows_are_decided_one_by_one():
    q_values = np.tile([0.0, 1.0, 0.0, 0.0], (4000, 1))
    actions = epsilon_greedy(q_values, 0.4, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(actions) / 4000, (0.1, 0.7, 0.1, 0.1), atol=0.02)
    rng = np.random.default_rng(0)
    assert (epsilon_greedy(q_values, 0.0, rng) == 1).all()
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_environments_explore_independently():
    explorer = make_explorer(6, action_weights=(0.5, 0.3, 0.2))
    q_values = np.tile([0.0, 1.0, 0.0], (6, 1))
    epsilon = np.array([1.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    actions = np.array([explorer.choose(q_values, epsilon) for _ in range(2000)])  # [T, N]
    assert (actions[:, 4:] == 1).all()
    for env in (0, 1):
        share = np.bincount(actions[:, env], minlength=3) / len(actions)
        np.testing.assert_allclose(share, (0.5, 0.3, 0.2), atol=0.03)
    other = [(actions[:, env] != 1) for env in (2, 3)]
    expected = 0.5 * (1 - 0.3)
    np.testing.assert_allclose([o.mean() for o in other], expected, atol=0.03)
    together = (other[0] & other[1]).mean()
    # One random number for both would give at least twice as much.
    assert together == pytest.approx(expected**2, abs=0.03)


@pytest.mark.parametrize("exponent", [2.0, None])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_random_actions_last_and_are_as_many_as_configured(exponent, share):
    explorer = make_explorer(50, seed=1, action_weights=(0.0, 0.5, 0.5), duration_exponent=exponent)
    q_values = np.tile([1.0, 0.0, 0.0], (50, 1))  # the greedy action is never a random one
    epsilon = np.where(np.arange(50) < 40, share, 0.0)
    actions = np.array([explorer.choose(q_values, epsilon) for _ in range(4000)])  # [T, N]
    assert (actions[:, 40:] == 0).all()
    random = actions[:, :40] > 0
    assert random.mean() == pytest.approx(share, rel=0.1)
    if share == 0.02:
        starts = random[1:] & ~random[:-1]
        duration = random[1:].sum() / starts.sum()
        assert duration == pytest.approx(2.0 if exponent else 1.0, rel=0.1)
        durations = np.diff(np.flatnonzero(np.diff(random[:, 0].astype(int))))[::2]
        assert durations.max() >= 5 if exponent else durations.max() <= 3


def test_a_reset_ends_random_actions():
    explorer = make_explorer(4, num_actions=2, seed=1, action_weights=(0.0, 1.0), duration_exponent=1.01)
    q_values = np.tile([1.0, 0.0], (4, 1))
    while not (explorer.choose(q_values, np.ones(4)) == 1).all():
        pass
    explorer.reset()
    assert (explorer.choose(q_values, np.zeros(4)) == 0).all()


def test_weights_beyond_the_number_of_actions_are_ignored():
    """An agent with two actions never ducks."""
    explorer = make_explorer(64, num_actions=2, action_weights=(0.5, 0.25, 0.25))
    actions = np.concatenate([explorer.choose(np.zeros((64, 2)), np.ones(64)) for _ in range(200)])
    np.testing.assert_allclose(np.bincount(actions) / len(actions), (2 / 3, 1 / 3), atol=0.03)


def test_too_few_weights_are_an_error():
    with pytest.raises(DinoError, match="action_weights has 2 values for 3 actions"):
        make_explorer(4, num_actions=3, action_weights=(0.5, 0.5))
