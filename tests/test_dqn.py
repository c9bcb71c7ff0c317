"""The DQN update against plain numpy, and the agent around it."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from dino_rl.agents.agent import Transition
from dino_rl.agents.dqn import DQN, DQNConfig
from dino_rl.agents.dqn_agent import DQNAgent
from dino_rl.agents.exploration import ExplorationConfig
from dino_rl.agents.networks import NetworkConfig
from dino_rl.agents.replay import Batch, ReplayConfig
from dino_rl.backend import keras, tf
from dino_rl.spec import ObservationSpec

VECTOR, ACTIONS, BATCH = ObservationSpec((4,), np.dtype(np.float32)), 3, 16
CONFIG = DQNConfig(
    NetworkConfig("dense", dueling=True),
    double=True,
    gradient_clip_norm=0.5,
    target_update_rate=0.1,
    target_update_period=1,
    acting_network="average",
)


def make_dqn(seed: int = 0, **changes) -> DQN:
    """Its Q-network and its target network differ."""
    keras.utils.set_random_seed(seed)
    dqn = DQN(replace(CONFIG, **changes), VECTOR, ACTIONS)
    rng = np.random.default_rng(seed + 1)
    dqn.target_network.set_weights([rng.normal(0, 0.4, w.shape) for w in dqn.target_network.get_weights()])
    return dqn


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        observation=rng.normal(size=(BATCH, *VECTOR.shape)).astype(np.float32),
        action=rng.integers(0, ACTIONS, BATCH).astype(np.int32),
        reward=rng.normal(size=BATCH).astype(np.float32) * 2,
        discount=(0.9 * (rng.random(BATCH) < 0.7)).astype(np.float32),
        next_observation=rng.normal(size=(BATCH, *VECTOR.shape)).astype(np.float32),
        weight=rng.random(BATCH).astype(np.float32),
        indices=np.arange(BATCH),
    )


def td_errors(dqn: DQN, batch: Batch) -> np.ndarray:
    """By the papers' formulas, from the networks' values alone."""
    q = dqn.q_network(batch.observation).numpy()[np.arange(BATCH), batch.action]
    next_target = dqn.target_network(batch.next_observation).numpy()
    if dqn.config.double:
        choice = dqn.q_network(batch.next_observation).numpy().argmax(axis=1)
        next_value = next_target[np.arange(BATCH), choice]
    else:
        next_value = next_target.max(axis=1)
    return batch.reward + batch.discount * next_value - q


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def gradients(dqn: DQN, batch: Batch, error: np.ndarray) -> list[np.ndarray]:
    """Of the weighted mean Huber loss: its derivative by q is minus the error, clipped to [-1, 1]."""
    slope = tf.constant(-np.clip(error, -1, 1) * batch.weight / BATCH, tf.float32)
    with tf.GradientTape() as tape:
        q = tf.gather(dqn.q_network(batch.observation), batch.action, batch_dims=1)
    return [g.numpy() for g in tape.gradient(q, dqn.q_network.trainable_variables, output_gradients=slope)]


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
def test_updates_equal_the_papers_formulas(double, dueling):
    dqn = make_dqn(double=double, network=NetworkConfig("dense", dueling=dueling))
    adam = Adam(CONFIG.gradient_clip_norm)
    for step, rate in enumerate((1e-3, 1e-3, 5e-4)):
        batch = make_batch(step)
        error = td_errors(dqn, batch)
        expected = adam.step(dqn.q_network.get_weights(), gradients(dqn, batch, error), rate)
        target_before = dqn.target_network.get_weights()
        q = dqn.q_network(batch.observation).numpy()[np.arange(BATCH), batch.action]

        update = dqn.update(batch, rate)

        np.testing.assert_allclose(update.td_error, error, rtol=1e-4, atol=1e-5)
        assert update.loss == pytest.approx((batch.weight * huber(error)).mean(), rel=1e-4)
        assert update.q_mean == pytest.approx(q.mean(), rel=1e-4, abs=1e-5)
        weights = dqn.q_network.get_weights()
        for ours, theirs in zip(weights, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        moved = [old + 0.1 * (new - old) for old, new in zip(target_before, weights, strict=True)]
        for ours, theirs in zip(dqn.target_network.get_weights(), moved, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert dqn.updates == 3


def test_double_and_plain_targets_differ_on_this_batch():
    double, plain = (td_errors(make_dqn(double=d), make_batch()) for d in (True, False))
    assert np.abs(double - plain).max() > 0.01  # otherwise the test above would show nothing


def test_the_target_network_moves_once_in_a_period():
    dqn = make_dqn(target_update_period=3, target_update_rate=1.0)
    start = dqn.target_network.get_weights()
    for _ in range(2):
        dqn.update(make_batch(), 1e-3)
    for ours, theirs in zip(dqn.target_network.get_weights(), start, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    dqn.update(make_batch(), 1e-3)
    for ours, theirs in zip(dqn.target_network.get_weights(), dqn.q_network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_target_network_that_moves_rarely_moves_by_its_share():
    dqn = make_dqn(target_update_period=2, target_update_rate=0.25)
    start = dqn.target_network.get_weights()
    for _ in range(2):
        dqn.update(make_batch(), 1e-3)
    learned = dqn.q_network.get_weights()
    for old, ours, new in zip(start, dqn.target_network.get_weights(), learned, strict=True):
        np.testing.assert_allclose(ours, old + 0.25 * (new - old), rtol=1e-5, atol=1e-6)


def test_bfloat16_only_rounds_the_update():
    full, rounded = make_dqn(), make_dqn(precision="bfloat16")
    hidden = [layer for layer in rounded.q_network.layers if layer.name.endswith("_hidden")]
    assert {layer.compute_dtype for layer in hidden} == {"bfloat16"}
    assert {str(w.dtype) for net in rounded.networks.values() for w in net.weights} == {"float32"}
    assert {layer.compute_dtype for layer in rounded.acting_network.layers} == {"float32"}
    assert rounded.q_network(make_batch().observation).dtype == tf.float32
    for step in range(3):
        one, other = (dqn.update(make_batch(step), 1e-3) for dqn in (full, rounded))
        np.testing.assert_allclose(one.td_error, other.td_error, atol=0.1)
        assert not np.array_equal(one.td_error, other.td_error)
    assert keras.config.dtype_policy().name == "float32"  # of layers that others make


def test_the_average_network_is_a_mean_of_the_last_share_of_all_updates():
    dqn = make_dqn(average_share=0.25)
    mean = dqn.q_network.get_weights()
    for number in range(1, 13):
        dqn.update(make_batch(number), 1e-2)
        share = min(1.0, 1 / (0.25 * number))
        learned = dqn.q_network.get_weights()
        mean = [old + share * (new - old) for old, new in zip(mean, learned, strict=True)]
    for ours, theirs in zip(dqn.acting_network.get_weights(), mean, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert np.abs(mean[0] - learned[0]).max() > 0.01
    assert dqn.networks["average_network"] is dqn.acting_network


@pytest.mark.parametrize(
    ("name", "acting_network"),
    [("average_network", "average"), ("target_network", "target"), ("q_network", "online")],
)
def test_the_configured_network_acts(name, acting_network):
    dqn = make_dqn(acting_network=acting_network)
    assert ("average_network" in dqn.networks) == (acting_network == "average")
    seen = make_batch().observation
    acting = dqn.networks[name]
    values = dqn.q_values(seen)
    np.testing.assert_allclose(values, acting(seen).numpy(), rtol=1e-5, atol=1e-6)
    assert dqn.acting_network is acting
    # Not a copy from when it was traced: later weights count.
    acting.set_weights([weight + 0.1 for weight in acting.get_weights()])
    assert np.abs(dqn.q_values(seen) - values).max() > 0.01
    np.testing.assert_allclose(dqn.q_values(seen), acting(seen).numpy(), rtol=1e-5, atol=1e-6)


def test_many_updates_in_one_call_are_as_many_calls():
    together, apart = make_dqn(target_update_period=2), make_dqn(target_update_period=2)
    batches = [make_batch(seed) for seed in range(4)]
    all_four = together.update(join(batches), 1e-3, count=4)
    for i, batch in enumerate(batches):
        one = apart.update(batch, 1e-3)
        np.testing.assert_allclose(all_four.loss[i], one.loss[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(all_four.q_mean[i], one.q_mean[0], rtol=1e-4, atol=1e-5)
        part = slice(i * BATCH, (i + 1) * BATCH)
        np.testing.assert_allclose(all_four.td_error[part], one.td_error, rtol=1e-3, atol=1e-4)
    for networks in ((together.q_network, apart.q_network), (together.target_network, apart.target_network)):
        for ours, theirs in zip(*(network.get_weights() for network in networks), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert together.updates == apart.updates == 4
    # Otherwise four updates with the first batch would pass too.
    assert not np.allclose(all_four.loss[0], all_four.loss[1:])


def join(batches: list[Batch]) -> Batch:
    return Batch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))


def test_the_learning_rate_is_constant_and_then_falls():
    config = DQNConfig(learning_rate=1e-3, learning_rate_end=1e-4, learning_rate_decay_from=0.6)
    assert config.learning_rate_at(0) == config.learning_rate_at(0.6) == pytest.approx(1e-3)
    assert config.learning_rate_at(0.8) == pytest.approx(5.5e-4)
    assert config.learning_rate_at(1) == pytest.approx(1e-4)


# --- The agent -------------------------------------------------------------------------------------------

ENVS = 4


def make_agent(seed: int = 0, **changes) -> DQNAgent:
    """Three environments explore, one is greedy."""
    keras.utils.set_random_seed(seed)
    config = replace(
        CONFIG,
        replay=ReplayConfig(capacity=400, priority_exponent=0.5, importance_exponent=0.4),
        exploration=ExplorationConfig(epsilon_start=1.0, epsilon_knee=1.0, epsilon_end=1.0),
        batch_size=BATCH,
        samples_per_insert=2.0,
        learning_starts=40,
        **changes,
    )
    rngs = [np.random.default_rng([seed, i]) for i in range(2)]
    return DQNAgent(config, VECTOR, ACTIONS, ENVS, 1, *rngs)


def drive(
    agent: DQNAgent, steps: int, seed: int = 0, start: int = 0, reward: float = 1.0
) -> list[np.ndarray]:
    """Environments with random observations, whose episodes last 9 steps; returns the actions."""
    rng = np.random.default_rng(seed)
    actions = []
    for time in range(steps):
        observation = rng.normal(size=(ENVS, *VECTOR.shape)).astype(np.float32)
        action, q_values = agent.act(observation, 0.5)
        agent.learn(start + time * ENVS, 0.5)
        first, ends, last = (np.full(ENVS, time % 10 == at) for at in (0, 8, 9))
        no = np.zeros(ENVS, bool)
        rewards = np.full(ENVS, reward)
        agent.observe(Transition(observation, first, last, action, rewards, ends, no, no, q_values))
        actions.append(action)
    return actions


def test_the_agent_learns_as_many_transitions_as_are_due():
    agent = make_agent()
    drive(agent, 11)  # learning starts at step 40; what is due before is dropped
    assert agent.updates == 0
    assert agent.counters() == {"updates": 0, "learn_debt": 16.0}
    drive(agent, 20, start=44)
    assert agent.updates == 10  # 16 + 19 x 8 transitions are due, in batches of 16
    assert set(agent.metrics(0.5)) == set(agent.interval_columns)
    assert np.isnan(agent.metrics(0.5)["loss"])  # no update since the last call
    assert set(agent.episode_metrics(0)) == set(agent.episode_columns)


def test_greedy_environments_do_not_explore_and_the_others_do():
    agent = make_agent()
    observation = np.random.default_rng(1).normal(size=(ENVS, *VECTOR.shape)).astype(np.float32)
    best = agent.network(observation).numpy().argmax(axis=1)
    chosen = [agent.act(observation, 0.5) for _ in range(200)]
    actions = np.array([action for action, _ in chosen])
    assert (actions[:, -1] == best[-1]).all()
    assert ((actions[:, :-1] == best[:-1]).mean(axis=0) < 0.5).all()
    np.testing.assert_allclose(chosen[0][1], agent.network(observation), rtol=1e-5, atol=1e-6)
    assert [agent.episode_metrics(env)["epsilon"] for env in range(ENVS)] == [1, 1, 1, 0]


def test_rewards_are_clipped():
    for clip, expected in ((0.5, 0.5), (None, 7.0)):
        agent = make_agent(reward_clip=clip)
        drive(agent, 5, reward=7.0)
        assert set(agent.replay.sample(32).reward) == {np.float32(expected)}


def test_a_restored_agent_continues_exactly(tmp_path):
    agent, other = make_agent(0), make_agent(1)
    drive(agent, 31)
    for name, network in agent.networks.items():
        network.save(tmp_path / f"{name}.keras")
    for name, network in other.networks.items():
        network.load_weights(tmp_path / f"{name}.keras")
    other.restore({name: array.copy() for name, array in agent.arrays().items()}, agent.counters())
    assert other.counters() == agent.counters()
    for each in (agent, other):
        each._actor._rng.bit_generator.state = np.random.default_rng(5).bit_generator.state
        each.replay._rng.bit_generator.state = np.random.default_rng(6).bit_generator.state
        each.reset()
    actions, others = (drive(each, 20, seed=3, start=200) for each in (agent, other))
    np.testing.assert_array_equal(actions, others)
    for name in agent.networks:
        weights = (each.networks[name].get_weights() for each in (agent, other))
        for ours, theirs in zip(*weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_importing_the_agents_does_not_load_tensorflow():
    code = (
        "import sys, dino_rl.agents.dqn_agent, dino_rl.agents.cem; "
        "print([name for name in ('tensorflow', 'keras', 'cv2') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")
