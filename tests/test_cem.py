"""The cross-entropy method: its parts on numbers, then whole runs on CartPole."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from dino_rl.agents.cem import CEM, Session, policy_network, select_elites
from dino_rl.agents.learner import Step
from dino_rl.backend import keras
from dino_rl.errors import DinoError
from dino_rl.results.model import Model
from dino_rl.results.runlog import read_table
from dino_rl.settings import PRESETS, CEMSettings, EnvSettings, RunSettings
from dino_rl.train import Trainer

LANES = 3
SETTINGS = RunSettings(
    algorithm="cem",
    env=EnvSettings("CartPole-v1", num_envs=LANES, greedy_envs=0),
    cem=CEMSettings(sessions=7, hidden_units=(8,), batch_size=16),
    minutes=None,
    steps=600,
    validations=1,
    validation_games=3,
)


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
    assert len(select_elites(sessions([5] * 4), percentile)[0]) == 4  # all alike: all are kept


# --- The learner -----------------------------------------------------------------------------------------


def make(seed: int = 0, **changes) -> CEM:
    keras.utils.set_random_seed(seed)
    rngs = {name: np.random.default_rng([seed, i]) for i, name in enumerate(("explore", "replay"))}
    return CEM(replace(SETTINGS, **changes), (2,), 2, rngs)


def play(agent: CEM, lengths, reward=lambda action: 1.0, iterations: int = 1) -> list[dict]:
    """Have it play sessions of the given lengths in turn, under next-step autoreset; its milestones."""
    lengths, milestones = iter(lengths), []
    left = [next(lengths) for _ in range(LANES)]
    first, last = np.ones(LANES, bool), np.zeros(LANES, bool)
    agent.break_off()
    while len(milestones) < iterations:
        seen = np.random.default_rng(len(milestones)).normal(size=(LANES, 2)).astype(np.float32)
        actions, _ = agent.act(seen, 0.0)
        milestone = agent.learn(0, 0.0)
        if milestone:
            milestones.append(milestone)
        left = [count if over else count - 1 for count, over in zip(left, last, strict=True)]
        ends = np.array([count == 0 for count in left]) & ~last
        rewards = np.array([0.0 if over else reward(a) for a, over in zip(actions, last, strict=True)])
        agent.take(Step(seen, first, last, actions, rewards, ends, *np.zeros((3, LANES), bool)))
        left = [next(lengths) if over else count for count, over in zip(left, last, strict=True)]
        first, last = last, ends
    return milestones


def test_an_iteration_is_its_number_of_whole_sessions():
    (milestone,) = play(make(), iter(lambda: 4, None))
    assert milestone["sessions"] == len(milestone["returns"]) == 7
    assert milestone["returns"] == [4.0] * 7
    assert milestone["threshold"] == milestone["mean"] == 4
    assert milestone["elites"] == 7


def test_long_sessions_are_not_left_out_for_ending_late():
    """One environment's sessions last 50 steps, the others' 2: each still counts for its share."""

    class Lengths:
        def __init__(self):
            self.asked = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.asked += 1
            return 50 if self.asked == 1 or self.asked % 20 == 0 else 2

    (milestone,) = play(make(), Lengths())
    assert milestone["sessions"] == 7
    assert 50.0 in milestone["returns"]


def test_actions_follow_the_policys_probabilities():
    agent = make()
    seen = np.tile(np.float32([[1.0, -2.0]]), (4000, 1))
    actions, probabilities = agent.act(seen, 0.0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert actions.mean() == pytest.approx(probabilities[0, 1], abs=0.03)
    assert set(agent.play(seen)) == {probabilities[0].argmax()}


def test_the_policy_comes_to_do_what_the_elites_did():
    agent = make(cem=CEMSettings(sessions=30, hidden_units=(8,), learning_rate=0.03, epochs=10))
    play(agent, iter(lambda: 6, None), reward=float, iterations=12)  # action 1 earns, action 0 does not
    probabilities = agent.act(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), 0.0)[1]
    assert probabilities[:, 1].mean() > 0.9


def test_images_are_refused():
    with pytest.raises(DinoError, match="vectors"):
        policy_network(CEMSettings(), (84, 84, 4), 4)


# --- Whole runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that was stopped, and went on."""
    directory = tmp_path_factory.mktemp("cem")
    trainer = Trainer(SETTINGS, directory)
    for report in trainer.run("python run_dino.py train --algo cem"):
        trainer.stopped = trainer.stopped or bool(report.milestone)
    trainer.close()
    weights, iteration = trainer.learner.network.get_weights(), trainer.learner.iteration
    assert 0 < trainer.step < SETTINGS.steps
    trainer = Trainer(SETTINGS, directory, resume=True)
    assert trainer.learner.iteration == iteration == 2
    for ours, theirs in zip(trainer.learner.network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(np.any(variable.numpy()) for variable in trainer.learner.optimizer.variables[2:])
    list(trainer.run())
    trainer.close()
    assert trainer.step >= SETTINGS.steps
    return directory


def test_a_run_leaves_its_iterations(run_dir):
    iterations = read_table(run_dir / "iterations.csv")
    assert iterations["iteration"] == list(range(1, len(iterations["step"]) + 1))
    with (run_dir / "episodes.csv").open(newline="") as file:
        episodes = list(csv.DictReader(file))
    for number, mean in zip(iterations["iteration"][1:], iterations["mean"][1:], strict=True):
        counted = [float(row["return"]) for row in episodes if int(row["iteration"]) == number]
        assert len(counted) == 7
        assert np.mean(counted) == pytest.approx(mean, rel=1e-5)
    assert all(int(row["left"]) + int(row["right"]) == int(row["length"]) for row in episodes)
    assert "epsilon" not in episodes[0]
    assert "start_speed" not in episodes[0]


def test_its_model_says_what_it_is(run_dir, cli, tmp_path):
    card = Model(run_dir / "best.h5").card
    assert card["algorithm"] == "cem"
    assert card["env"]["id"] == "CartPole-v1"
    assert card["actions"] == ["left", "right"]
    assert card["picture"] is None
    assert "browser" not in card["versions"]
    path = tmp_path / "e.json"
    code, out, err = cli("evaluate", "--model", run_dir / "best.h5", "--games", 3, "--json", path)
    assert (code, err) == (0, "")
    assert "mean" in out
    result = json.loads(path.read_text())
    assert (result["algorithm"], result["env"], result["games"]) == ("cem", "CartPole-v1", 3)
    code, out, err = cli("play", "--model", run_dir / "best.h5", "--headless", "--games", 2)
    assert (code, err) == (0, "")
    assert out.count(" at ") == 2


def test_the_command_shows_each_iteration(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny-cem", replace(SETTINGS, stop_return=-1.0, validations=0))
    code, out, err = cli("train", "--preset", "tiny-cem", "--steps", 6000, "--run-dir", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "iteration   1" in out
    assert "threshold" in out
    assert "solved" in out
    for name in ("iterations-light.png", "iterations-dark.png", "curves-dark.png", "checkpoint/policy.keras"):
        assert (tmp_path / "run" / name).exists()


@pytest.mark.learning
@pytest.mark.timeout(400)
@pytest.mark.parametrize("target", [190, 475])
def test_it_solves_cartpole(target, cli, tmp_path):
    arguments = (
        "--env",
        "CartPole-v1",
        "--algo",
        "cem",
        "--stop-return",
        target,
        "--run-dir",
        tmp_path / "run",
    )
    code, out, _ = cli("train", *arguments)
    assert code == 0
    assert "solved" in out
