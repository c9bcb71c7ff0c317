"""The examples run, are short, and learn. Whole trainings: make test-examples."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT

EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}
NEEDS = {
    "random_agent": (),
    "sb3_ppo": ("stable_baselines3",),
    "cleanrl_dqn": ("torch",),
    "rllib_ppo": ("ray", "torch"),
}
pytestmark = pytest.mark.browser


def load(name: str) -> ModuleType:
    """An example as a module, if its packages are installed."""
    for package in NEEDS[name]:
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_and_short():
    assert EXAMPLES.keys() == NEEDS.keys()
    for path in EXAMPLES.values():
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60


def test_no_example_hides_a_package():
    """`python examples/x.py` puts its directory first on the path."""
    assert not EXAMPLES.keys() & {package for packages in NEEDS.values() for package in packages}


def test_the_random_agent_plays(no_new_browsers):
    scores = load("random_agent").main(steps=3000)
    assert len(scores) >= 8
    assert 35 < np.mean(scores) < 80  # it meets one or two cacti


def test_an_example_is_a_program(no_new_browsers):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES["random_agent"]), "800"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean score" in done.stdout


def test_cleanrl_dqn_runs(no_new_browsers):
    scores = load("cleanrl_dqn").main(steps=1200, learning_starts=800)
    assert len(scores) >= 4


@pytest.mark.filterwarnings("error:.*:UserWarning")
def test_sb3_ppo_runs(no_new_browsers):
    scores = load("sb3_ppo").main(steps=1024, num_envs=8, n_steps=64)
    assert len(scores) >= 4


@pytest.fixture
def ray_directory(monkeypatch):
    """Ray keeps the logs of its sessions. The names of its sockets have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        yield


@pytest.mark.ray
def test_rllib_ppo_runs(ray_directory, no_new_browsers):
    returns = load("rllib_ppo").main(iterations=2, num_envs=4, batch_size=500)
    assert len(returns) == 2
    assert np.isfinite(returns[-1])


# --- Learning --------------------------------------------------------------------------------------------


def assert_improves(values: list[float], at_least: float):
    """The last tenth of what an agent got, compared with the first, when it played nearly at random."""
    part = max(10, len(values) // 10)
    first, last = np.nanmean(values[:part]), np.nanmean(values[-part:])
    assert last > at_least * first, (first, last)


@pytest.mark.examples
@pytest.mark.timeout(3600)
def test_sb3_ppo_learns(no_new_browsers):
    assert_improves(load("sb3_ppo").main(), 1.5)


@pytest.mark.examples
@pytest.mark.timeout(3600)
def test_cleanrl_dqn_learns(no_new_browsers):
    assert_improves(load("cleanrl_dqn").main(), 1.5)


@pytest.mark.examples
@pytest.mark.timeout(3600)
def test_rllib_ppo_learns(ray_directory, no_new_browsers):
    returns = np.array(load("rllib_ppo").main())
    assert_improves((returns + 1).tolist(), 1.5)  # without the crash
