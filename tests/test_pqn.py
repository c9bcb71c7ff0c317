"""The parallelised Q-network: its returns against their definition, its rollouts, and learning."""

from dataclasses import replace

import numpy as np
import pytest

from dino_rl.agents.agent import Transition
from dino_rl.agents.exploration import ExplorationConfig
from dino_rl.agents.lambda_returns import lambda_returns
from dino_rl.agents.networks import NetworkConfig, build_q_network, count_weights
from dino_rl.agents.pqn import PQN, PQNConfig
from dino_rl.backend import keras
from dino_rl.spec import ObservationSpec

ENVS, STEPS, ACTIONS = 4, 8, 2
GREEDY = ExplorationConfig(epsilon_start=0.0, epsilon_knee=0.0, epsilon_end=0.0)
CONFIG = PQNConfig(exploration=GREEDY, rollout_steps=STEPS, epochs=2, batch_size=8)


# --- Returns ---------------------------------------------------------------------------------------------


def by_definition(reward, value, terminated, cut, discount, trace_decay, t) -> float:
    """The mean of the n-step returns from step t, weighted by (1 - lambda) lambda^(n-1); the longest one has
    all the weight that is left."""
    total, so_far, weight, n = 0.0, 0.0, 1.0, 0
    while True:
        so_far += discount**n * reward[t + n]
        n += 1
        if terminated[t + n - 1]:
            return total + weight * so_far
        n_step = so_far + discount**n * value[t + n]
        if cut[t + n - 1] or t + n == len(reward):
            return total + weight * n_step
        total += weight * (1 - trace_decay) * n_step
        weight *= trace_decay


@pytest.mark.parametrize("trace_decay", [0.0, 0.65, 1.0])
def test_returns_are_weighted_means_of_n_step_returns(trace_decay):
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(12, ENVS)), rng.normal(size=(13, ENVS))
    terminated, cut = rng.random((12, ENVS)) < 0.15, rng.random((12, ENVS)) < 0.15
    assert (terminated & ~cut).any()
    assert (cut & ~terminated).any()
    returns = lambda_returns(reward, value, terminated, cut, 0.9, trace_decay)
    assert returns.dtype == np.float32
    for i in range(ENVS):
        columns = [array[:, i] for array in (reward, value, terminated, cut)]
        expected = [by_definition(*columns, 0.9, trace_decay, t) for t in range(12)]
        np.testing.assert_allclose(returns[:, i], expected, rtol=1e-5, atol=1e-6)


# --- The agent -------------------------------------------------------------------------------------------


def make(seed: int = 0, **changes) -> PQN:
    keras.utils.set_random_seed(seed)
    rngs = [np.random.default_rng([seed, i]) for i in range(2)]
    return PQN(
        replace(CONFIG, **changes), ObservationSpec((3,), np.dtype(np.float32)), ACTIONS, ENVS, 0, *rngs
    )


def step(agent: PQN, seen: np.ndarray, reward, **flags) -> np.ndarray:
    """One step of a training loop; `reward` maps the actions to rewards."""
    actions, values = agent.act(seen, 0.0)
    agent.learn(0, 0.0)
    nothing = np.zeros(ENVS, bool)
    names = ("first", "last", "terminated", "truncated", "life_lost")
    agent.observe(
        Transition(
            observation=seen,
            action=actions,
            reward=reward(actions),
            values=values,
            **{name: flags.get(name, nothing) for name in names},
        )
    )
    return actions


def observations(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ENVS, 3)).astype(np.float32)


def test_the_updates_of_a_rollout_are_spread_over_the_next():
    agent, rng, updates = make(), np.random.default_rng(0), []
    for _ in range(3 * STEPS + 1):
        step(agent, observations(rng), lambda actions: np.ones(ENVS))
        updates.append(agent.updates)
    each = CONFIG.epochs * STEPS * ENVS // CONFIG.batch_size  # 8 minibatches: one for each step
    assert updates[STEPS] == 0  # the value after the rollout must be known, too
    assert np.diff(updates[STEPS:]).tolist() == [each // STEPS] * (2 * STEPS)


def test_actions_that_the_environment_ignored_are_not_learned_from():
    agent, rng = make(epochs=1, batch_size=1), np.random.default_rng(0)
    ended = np.array([True, False, False, False])
    for t in range(STEPS + 1):
        flags = {"terminated": ended} if t == 3 else {"last": ended} if t == 4 else {}
        step(agent, observations(rng), lambda actions: np.ones(ENVS), **flags)
    agent.learn(0, 0.0)
    returns = agent._steps[2].reshape(STEPS, ENVS)
    assert returns[3].tolist()[0] == 1.0  # nothing follows the end
    assert returns[3, 1] != 1.0
    assert agent.updates + len(agent._batches) == STEPS * ENVS - 1


@pytest.mark.parametrize("dueling", [False, True])
def test_it_learns_which_action_is_right(dueling):
    """The sign of the first number decides; nothing that is done matters later."""
    network = NetworkConfig("dense", dueling=dueling, layer_norm=True)
    exploring = replace(GREEDY, epsilon_start=0.3, epsilon_knee=0.3, epsilon_end=0.3)
    agent = make(
        network=network, exploration=exploring, discount=0.0, learning_rate=1e-2, learning_rate_end=1e-2
    )
    rng = np.random.default_rng(1)
    for _ in range(60 * STEPS):
        seen = observations(rng)
        step(agent, seen, lambda actions, seen=seen: (actions == (seen[:, 0] > 0)).astype(float))
    seen = np.concatenate([observations(rng) for _ in range(50)])
    assert (agent.act_greedily(seen) == (seen[:, 0] > 0)).mean() > 0.9


def test_equal_seeds_are_equal_bit_for_bit():
    agents = make(3), make(3)
    for agent in agents:
        rng = np.random.default_rng(2)
        for _ in range(3 * STEPS):
            step(agent, observations(rng), lambda actions: actions.astype(float))
    assert agents[0].updates > 0
    for one, other in zip(*(agent.network.get_weights() for agent in agents), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_reset_abandons_the_rollout():
    agent, rng = make(), np.random.default_rng(0)
    for _ in range(STEPS):
        step(agent, observations(rng), lambda actions: np.ones(ENVS))
    agent.reset()
    for _ in range(STEPS):
        step(agent, observations(rng), lambda actions: np.ones(ENVS))
    assert agent.updates == 0


# --- Layer normalization ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("torso", "shape"),
    [("dense", (4,)), ("compact", (80, 80, 4)), ("wide", (80, 80, 4)), ("tutorial", (80, 80, 4))],
)
def test_normalized_networks(torso, shape):
    config = NetworkConfig(torso, dueling=True, layer_norm=True)
    network = build_q_network(config, shape, ACTIONS)
    plain = build_q_network(replace(config, layer_norm=False), shape, ACTIONS)
    assert network.count_params() == count_weights(config, shape, ACTIONS) > plain.count_params()
    normalized = [layer for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization)]
    relus = [layer for layer in network.layers if isinstance(layer, keras.layers.Activation)]
    assert (
        len(normalized)
        == len(relus)
        == sum(getattr(x, "activation", 0) is keras.activations.relu for x in plain.layers)
    )
