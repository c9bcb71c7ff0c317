"""The cross-entropy method: elites, iterations, and fitting the policy."""

from dataclasses import replace

import numpy as np
import pytest

from dino_rl.agents.agent import Transition
from dino_rl.agents.cem import CEM, CEMConfig, Session, policy_network, select_elites
from dino_rl.backend import keras
from dino_rl.errors import DinoError
from dino_rl.spec import ObservationSpec

ENVS = 3
CONFIG = CEMConfig(sessions=7, hidden_units=(8,), batch_size=16)


def sessions(returns) -> list[Session]:
    return [Session([np.zeros(2)], [i], float(total)) for i, total in enumerate(returns)]


# --- Elites ----------------------------------------------------------------------------------------------


def test_elites_reach_the_percentile_and_keep_their_order():
    returns = [3, 9, 1, 7, 5, 10, 2, 8, 4, 6]
    elites, threshold = select_elites(sessions(returns), 70)
    assert threshold == pytest.approx(7.3)  # between the seventh and the eighth of ten
    assert [elite.total for elite in elites] == [9, 10, 8]


@pytest.mark.parametrize("percentile", [0, 50, 100])
def test_there_is_always_an_elite(percentile):
    for returns in ([5] * 4, [1, 2], [-3]):
        elites, threshold = select_elites(sessions(returns), percentile)
        assert elites
        assert all(elite.total >= threshold for elite in elites)
    assert len(select_elites(sessions([5] * 4), percentile)[0]) == 4  # equal returns: all are elites


# --- The agent -------------------------------------------------------------------------------------------


def make(seed: int = 0, **changes) -> CEM:
    keras.utils.set_random_seed(seed)
    rngs = [np.random.default_rng([seed, i]) for i in range(2)]
    return CEM(replace(CONFIG, **changes), ObservationSpec((2,), np.dtype(np.float32)), 2, ENVS, 0, *rngs)


def play(agent: CEM, lengths, reward=lambda action: 1.0, iterations: int = 1) -> list[dict]:
    """Play sessions of the given lengths in turn, under next-step autoreset; summaries of the iterations."""
    lengths, summaries = iter(lengths), []
    left = [next(lengths) for _ in range(ENVS)]
    first, last = np.ones(ENVS, bool), np.zeros(ENVS, bool)
    agent.reset()
    while len(summaries) < iterations:
        seen = np.random.default_rng(len(summaries)).normal(size=(ENVS, 2)).astype(np.float32)
        actions, values = agent.act(seen, 0.0)
        summary = agent.learn(0, 0.0)
        if summary:
            summaries.append(summary)
        left = [count if over else count - 1 for count, over in zip(left, last, strict=True)]
        ends = np.array([count == 0 for count in left]) & ~last
        rewards = np.array([0.0 if over else reward(a) for a, over in zip(actions, last, strict=True)])
        agent.observe(
            Transition(seen, first, last, actions, rewards, ends, *np.zeros((2, ENVS), bool), values)
        )
        left = [next(lengths) if over else count for count, over in zip(left, last, strict=True)]
        first, last = last, ends
    return summaries


def test_an_iteration_is_its_number_of_whole_sessions():
    (summary,) = play(make(), iter(lambda: 4, None))
    assert summary["sessions"] == len(summary["returns"]) == 7
    assert summary["returns"] == [4.0] * 7
    assert summary["threshold"] == summary["mean"] == 4
    assert summary["elites"] == 7


def test_long_sessions_count_as_much_as_short_ones():
    """The first session lasts 50 steps, the others' 2: each environment still plays its share."""

    class Lengths:
        def __init__(self):
            self.asked = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.asked += 1
            return 50 if self.asked == 1 or self.asked % 20 == 0 else 2

    (summary,) = play(make(), Lengths())
    assert summary["sessions"] == 7
    assert 50.0 in summary["returns"]


def test_actions_follow_the_policys_probabilities():
    agent = make()
    seen = np.tile(np.float32([[1.0, -2.0]]), (4000, 1))
    actions, probabilities = agent.act(seen, 0.0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert actions.mean() == pytest.approx(probabilities[0, 1], abs=0.03)
    assert set(agent.act_greedily(seen)) == {probabilities[0].argmax()}


def test_the_policy_learns_what_the_elites_did():
    agent = make(sessions=30, learning_rate=0.03, epochs=10, batch_size=256)
    play(agent, iter(lambda: 6, None), reward=float, iterations=12)  # action 1 earns, action 0 does not
    probabilities = agent.act(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), 0.0)[1]
    assert probabilities[:, 1].mean() > 0.9


def test_images_are_refused():
    with pytest.raises(DinoError, match="vectors"):
        policy_network(CEMConfig(), (84, 84, 4), 4)


def test_metrics_and_state():
    agent = make()
    play(agent, iter(lambda: 4, None), iterations=2)
    metrics = agent.metrics(0.0)
    assert tuple(metrics) == agent.interval_columns
    assert metrics["loss"] > 0
    assert np.isnan(agent.metrics(0.0)["loss"])  # no iteration since the last call
    assert agent.counters() == {"updates": agent.updates, "iteration": 3}
    assert agent.episode_metrics(0)["iteration"] in (0, 1, 2, 3)


def test_a_reset_starts_the_iteration_anew():
    agent = make()
    (summary,) = play(agent, iter(lambda: 4, None))
    agent.reset()
    assert agent.episode_metrics(0) == {"iteration": 0}
    (second,) = play(agent, iter(lambda: 5, None))
    assert second["iteration"] == summary["iteration"] + 1
    assert second["returns"] == [5.0] * 7  # none from before the reset
