"""The DQN update and its actions, against plain numpy."""

from dataclasses import fields, replace

import numpy as np
import pytest

from dino_rl.agents.dqn import DQN, make_explorer
from dino_rl.agents.learner import Explorer
from dino_rl.agents.replay import Batch
from dino_rl.backend import keras, tf
from dino_rl.settings import DQNSettings, EnvSettings, RunSettings

VECTOR, ACTIONS, BATCH = (4,), 3, 16
SETTINGS = DQNSettings(network="dense", gradient_clip_norm=0.5, target_update_rate=0.1)


def make_agent(seed: int = 0, **changes) -> DQN:
    """An agent whose two networks differ."""
    keras.utils.set_random_seed(seed)
    agent = DQN(replace(SETTINGS, **changes), VECTOR, ACTIONS)
    rng = np.random.default_rng(seed + 1)
    agent.target_network.set_weights(
        [rng.normal(0, 0.4, w.shape) for w in agent.target_network.get_weights()]
    )
    return agent


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        observation=rng.normal(size=(BATCH, *VECTOR)).astype(np.float32),
        action=rng.integers(0, ACTIONS, BATCH).astype(np.int32),
        reward=rng.normal(size=BATCH).astype(np.float32) * 2,
        discount=(0.9 * (rng.random(BATCH) < 0.7)).astype(np.float32),
        next_observation=rng.normal(size=(BATCH, *VECTOR)).astype(np.float32),
        weight=rng.random(BATCH).astype(np.float32),
        index=np.arange(BATCH),
    )


def td_errors(agent: DQN, batch: Batch) -> np.ndarray:
    """The textbook's, from the networks' values alone."""
    q = agent.q_network(batch.observation).numpy()[np.arange(BATCH), batch.action]
    next_target = agent.target_network(batch.next_observation).numpy()
    if agent.settings.double:
        choice = agent.q_network(batch.next_observation).numpy().argmax(axis=1)
        next_value = next_target[np.arange(BATCH), choice]
    else:
        next_value = next_target.max(axis=1)
    return batch.reward + batch.discount * next_value - q


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def gradients(agent: DQN, batch: Batch, error: np.ndarray) -> list[np.ndarray]:
    """Of the weighted mean Huber loss: its slope by q is minus the error, cut to [-1, 1]."""
    slope = tf.constant(-np.clip(error, -1, 1) * batch.weight / BATCH, tf.float32)
    with tf.GradientTape() as tape:
        q = tf.gather(agent.q_network(batch.observation), batch.action, batch_dims=1)
    return [g.numpy() for g in tape.gradient(q, agent.q_network.trainable_variables, output_gradients=slope)]


class Adam:
    """Kingma and Ba 2015, in the order of their section 2, after clipping by the global norm."""

    def __init__(self, clip: float):
        self.clip, self.t, self.m, self.v = clip, 0, 0.0, 0.0

    def step(self, weights, gradient, rate):
        norm = np.sqrt(sum((g**2).sum() for g in gradient))
        gradient = np.concatenate([(g * min(1, self.clip / norm)).ravel() for g in gradient])
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        rate *= np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        move = rate * self.m / (np.sqrt(self.v) + 1e-7)
        parts = np.split(move, np.cumsum([w.size for w in weights])[:-1])
        return [w - part.reshape(w.shape) for w, part in zip(weights, parts, strict=True)]


@pytest.mark.parametrize(("double", "dueling"), [(True, True), (False, False)])
def test_updates_equal_the_textbooks(double, dueling):
    agent = make_agent(double=double, dueling=dueling)
    adam = Adam(SETTINGS.gradient_clip_norm)
    for step, rate in enumerate((1e-3, 1e-3, 5e-4)):
        batch = make_batch(step)
        error = td_errors(agent, batch)
        expected = adam.step(agent.q_network.get_weights(), gradients(agent, batch, error), rate)
        target_before = agent.target_network.get_weights()
        q = agent.q_network(batch.observation).numpy()[np.arange(BATCH), batch.action]

        loss, q_mean, reported = agent.update(batch, rate)

        np.testing.assert_allclose(reported, error, rtol=1e-4, atol=1e-5)
        assert loss == pytest.approx((batch.weight * huber(error)).mean(), rel=1e-4)
        assert q_mean == pytest.approx(q.mean(), rel=1e-4, abs=1e-5)
        weights = agent.q_network.get_weights()
        for ours, theirs in zip(weights, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        moved = [old + 0.1 * (new - old) for old, new in zip(target_before, weights, strict=True)]
        for ours, theirs in zip(agent.target_network.get_weights(), moved, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert agent.updates == 3


def run_of(weights, num_envs):
    """Settings whose random actions have these weights."""
    return RunSettings(
        env=EnvSettings(num_envs=num_envs), dqn=replace(SETTINGS, random_action_weights=weights)
    )


def test_double_and_plain_targets_differ_on_this_batch():
    double, plain = (td_errors(make_agent(double=d), make_batch()) for d in (True, False))
    assert np.abs(double - plain).max() > 0.01  # else the test above would show nothing


def test_the_target_network_waits_for_its_period():
    agent = make_agent(target_update_period=3, target_update_rate=1.0)
    start = agent.target_network.get_weights()
    for _ in range(2):
        agent.update(make_batch(), 1e-3)
    for ours, theirs in zip(agent.target_network.get_weights(), start, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    agent.update(make_batch(), 1e-3)
    for ours, theirs in zip(agent.target_network.get_weights(), agent.q_network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_network_that_acts_is_a_mean_of_the_last_share_of_all_updates():
    agent = make_agent(averaged_share=0.25)
    mean = agent.q_network.get_weights()
    for number in range(1, 13):
        agent.update(make_batch(number), 1e-2)
        share = min(1.0, 1 / (0.25 * number))
        learned = agent.q_network.get_weights()
        mean = [old + share * (new - old) for old, new in zip(mean, learned, strict=True)]
    for ours, theirs in zip(agent.acting_network.get_weights(), mean, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert np.abs(mean[0] - learned[0]).max() > 0.01
    assert agent.networks["average_network"] is agent.acting_network


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("average_network", {"averaged_share": 0.1}),
        ("target_network", {"averaged_share": 0.0}),
        ("q_network", {"averaged_share": 0.0, "act_with_target": False}),
    ],
)
def test_the_network_that_acts_is_the_one_that_was_asked_for(name, settings):
    agent = make_agent(**settings)
    seen = make_batch().observation
    acting = agent.networks[name]
    values = agent.q_values(seen)
    np.testing.assert_allclose(values, acting(seen).numpy(), rtol=1e-5, atol=1e-6)
    assert agent.acting_network is acting
    # Not a copy from when it was traced: what is learned later counts.
    acting.set_weights([weight + 0.1 for weight in acting.get_weights()])
    assert np.abs(agent.q_values(seen) - values).max() > 0.01
    np.testing.assert_allclose(agent.q_values(seen), acting(seen).numpy(), rtol=1e-5, atol=1e-6)


def test_each_lane_tosses_its_own_coin():
    explorer = make_explorer(run_of((0.5, 0.3, 0.2), 6), ACTIONS, np.random.default_rng(0))
    values = np.tile([0.0, 1.0, 0.0], (6, 1))
    epsilon = np.array([1.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    actions = np.array([explorer.choose(values, epsilon) for _ in range(2000)])  # [T, lanes]
    assert (actions[:, 4:] == 1).all()
    for lane in (0, 1):
        share = np.bincount(actions[:, lane], minlength=3) / len(actions)
        np.testing.assert_allclose(share, (0.5, 0.3, 0.2), atol=0.03)
    other = [(actions[:, lane] != 1) for lane in (2, 3)]
    expected = 0.5 * (1 - 0.3)
    np.testing.assert_allclose([o.mean() for o in other], expected, atol=0.03)
    together = (other[0] & other[1]).mean()
    # One coin for both would give at least twice as much.
    assert together == pytest.approx(expected**2, abs=0.03)


@pytest.mark.parametrize("exponent", [2.0, None])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_random_actions_last_and_are_as_many_as_asked_for(exponent, share):
    explorer = Explorer(50, exponent, np.array([0.0, 0.5, 0.5]), np.random.default_rng(1))
    values = np.tile([1.0, 0.0, 0.0], (50, 1))  # the greedy action is none of the random ones
    epsilon = np.where(np.arange(50) < 40, share, 0.0)
    actions = np.array([explorer.choose(values, epsilon) for _ in range(4000)])  # [T, N]
    assert (actions[:, 40:] == 0).all()
    random = actions[:, :40] > 0
    assert random.mean() == pytest.approx(share, rel=0.1)
    if share == 0.02:
        starts = random[1:] & ~random[:-1]
        length = random[1:].sum() / starts.sum()
        assert length == pytest.approx(2.0 if exponent else 1.0, rel=0.1)
        lengths = np.diff(np.flatnonzero(np.diff(random[:, 0].astype(int))))[::2]
        assert lengths.max() >= 5 if exponent else lengths.max() <= 3


def test_a_random_action_ends_where_all_begins_anew():
    explorer = Explorer(4, 1.01, np.array([0.0, 1.0]), np.random.default_rng(1))
    values = np.tile([1.0, 0.0], (4, 1))
    while not (explorer.choose(values, np.ones(4)) == 1).all():
        pass
    explorer.stop()
    assert (explorer.choose(values, np.zeros(4)) == 0).all()


def test_two_action_agents_never_duck():
    explorer = make_explorer(run_of((0.5, 0.25, 0.25), 64), 2, np.random.default_rng(0))
    actions = np.concatenate([explorer.choose(np.zeros((64, 2)), np.ones(64)) for _ in range(200)])
    np.testing.assert_allclose(np.bincount(actions) / len(actions), (2 / 3, 1 / 3), atol=0.03)


def test_many_updates_in_one_call_are_as_many_calls():
    together, apart = make_agent(target_update_period=2), make_agent(target_update_period=2)
    batches = [make_batch(seed) for seed in range(4)]
    losses, qs, errors = together.update(join(batches), 1e-3, count=4)
    for i, batch in enumerate(batches):
        loss, q, error = apart.update(batch, 1e-3)
        np.testing.assert_allclose((losses[i], qs[i]), (loss[0], q[0]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(errors[i * BATCH : (i + 1) * BATCH], error, rtol=1e-3, atol=1e-4)
    for networks in ((together.q_network, apart.q_network), (together.target_network, apart.target_network)):
        for ours, theirs in zip(*(network.get_weights() for network in networks), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert together.updates == apart.updates == 4
    assert not np.allclose(losses[0], losses[1:])  # else one batch four times would do as well


def join(batches: list[Batch]) -> Batch:
    return Batch(*(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(Batch)))
