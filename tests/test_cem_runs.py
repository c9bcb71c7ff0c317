"""The cross-entropy method: whole runs on CartPole."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from dino_rl.agents.cem import CEMConfig
from dino_rl.experiment import make_run
from dino_rl.player import load_player
from dino_rl.presets import preset, recipes
from dino_rl.runs.csv_log import read_table
from dino_rl.training.callbacks import Callback

CARTPOLE = preset("cartpole-cem")
CONFIG = replace(
    CARTPOLE,
    env=replace(CARTPOLE.env, num_envs=3),
    cem=CEMConfig(sessions=7, hidden_units=(8,), batch_size=16),
    run=replace(CARTPOLE.run, minutes=None, steps=600, validations=1, validation_games=3, stop_return=None),
)


class StopsAfterAnIteration(Callback):
    def on_iteration(self, run, row):
        run.stopped = True


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that was stopped, and resumed."""
    directory = tmp_path_factory.mktemp("cem")
    command = "python run_dino.py train --algo cem"
    with make_run(CONFIG, directory, [StopsAfterAnIteration()], command=command) as run:
        run.run()
    agent = run.algorithm.agent
    weights, iteration = agent.network.get_weights(), agent.iteration
    assert 0 < run.step < CONFIG.run.steps
    with make_run(CONFIG, directory, resume=True) as run:
        agent = run.algorithm.agent
        assert agent.iteration == iteration == 2
        for ours, theirs in zip(agent.network.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert any(np.any(variable.numpy()) for variable in agent.optimizer.variables[2:])
        run.run()
    assert run.step >= CONFIG.run.steps
    return directory


def test_a_run_writes_its_iterations(run_dir):
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


def test_the_model_card_describes_the_run(run_dir, cli, tmp_path):
    card = load_player(run_dir / "best.h5").card
    assert card["algorithm"] == "cem"
    assert card["settings"]["env"]["id"] == "CartPole-v1"
    assert card["actions"] == ["left", "right"]
    assert card["frame"] is None
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
    tiny = replace(CONFIG, run=replace(CONFIG.run, stop_return=-1.0, validations=0))
    monkeypatch.setitem(recipes(), "tiny-cem", tiny)
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
