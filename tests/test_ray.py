"""What runs on Ray: RLlib, actors, the search. `make test-ray`."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import command, finish, runs, still_running
from tiny_run import TINY_IDLE

from dino_rl.errors import ModelError
from dino_rl.results.runlog import read_table
from dino_rl.settings import PRESETS, OnRaySettings

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

RAY_NAMES = ("raylet", "gcs_server", "ray::")
CARTPOLE = replace(PRESETS["cartpole"], engine="ray", steps=4_000, stop_return=None, validations=1)


def ray_processes() -> set[psutil.Process]:
    """All of Ray's that run on this machine."""
    found = set()
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(name in line for name in RAY_NAMES) and runs(process):
            found.add(process)
    return found


@pytest.fixture(autouse=True, scope="module")
def account(tmp_path_factory) -> Iterator[None]:
    """A signing key of the tests' own, and a place for Ray whose sockets' names have 107 bytes at most."""
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("account")))
        patch.setenv("RAY_TMPDIR", short)
        yield
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left(account, no_new_browsers) -> Iterator[None]:
    """Ray's processes and the actors' browsers are gone afterwards."""
    before = ray_processes()
    yield
    left = still_running(list(ray_processes() - before), patience_s=20)
    assert not left, [" ".join(process.cmdline())[:100] for process in left]


@pytest.fixture
def local_cluster():
    from dino_rl.scale.cluster import cluster

    with cluster(workers=3):
        yield


@pytest.fixture
def every_turn(monkeypatch):
    """A run reports each turn of its loop."""
    from dino_rl import train

    monkeypatch.setattr(train, "INTERVAL_S", 0.0)


def wait_for(condition, patience_s: float = 200):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


# --- Actors ----------------------------------------------------------------------------------------------


def test_the_ladder_is_that_of_the_paper():
    from dino_rl.scale.actors import ladder

    settings = replace(
        CARTPOLE, env=replace(CARTPOLE.env, num_envs=3, greedy_envs=1), on_ray=OnRaySettings(actors=4)
    )
    all_of_them = np.stack([ladder(settings, actor, 4) for actor in range(4)])
    np.testing.assert_array_equal(all_of_them[:, 2], 0.0)  # greedy ones do not explore
    games = np.sort(all_of_them[:, :2].ravel())[::-1]
    np.testing.assert_allclose(games, 0.4 ** (1 + np.arange(8) / 7 * 7))
    assert np.isfinite(ladder(replace(settings, env=replace(settings.env, num_envs=2)), 0, 1)).all()


def test_actors_feed_one_learner_and_the_run_is_like_any_other(cli, tmp_path):
    run_dir = tmp_path / "run"
    arguments = ("--env", "CartPole-v1", "--engine", "ray", "--actors", 2)
    code, _, err = cli("train", *arguments, "--steps", 4000, "--run-dir", run_dir)
    assert code == 0, err
    episodes = read_table(run_dir / "episodes.csv")
    assert set(episodes["env"]) == set(range(32))  # both actors' environments
    assert len(set(episodes["epsilon"])) == 32
    assert episodes["left"][0] + episodes["right"][0] == episodes["length"][0]
    intervals = read_table(run_dir / "intervals.csv")
    assert intervals["step"][-1] >= 4000  # whole rollouts, so mostly a few more
    # As many updates for each step as in one process: 16 transitions learned for each, 64 at a time.
    assert intervals["updates"][-1] == pytest.approx((intervals["step"][-1] - 1000) * 16 / 64, rel=0.1)
    assert cli("evaluate", "--model", run_dir, "--games", 3)[0] == 0
    code, _, err = cli("train", "--resume", run_dir, "--steps", 6000)
    assert code == 0, err
    assert read_table(run_dir / "intervals.csv")["step"][-1] >= 6000


def test_an_actor_that_is_killed_is_started_again(local_cluster, tmp_path, every_turn):
    from dino_rl.scale.apex import ApexTrainer

    trainer = ApexTrainer(replace(CARTPOLE, steps=12_000, validations=0), tmp_path / "run")
    try:
        victim, survivor = (pid for pid, _ in trainer.env.whereabouts())
        for _ in trainer.run():
            if trainer.step > 3000 and psutil.pid_exists(victim):
                os.kill(victim, signal.SIGKILL)
        now = [pid for pid, _ in trainer.env.whereabouts()]
        assert now[1] == survivor
        assert now[0] != victim
        shards = trainer.learner.replay.shards
        assert sum(map(len, shards)) == trainer.step >= 12_000  # nothing was lost
    finally:
        trainer.close()


def test_the_browser_of_a_killed_actor_is_gone_and_its_games_go_on(local_cluster, tmp_path, every_turn):
    """`no_new_browsers` sees whether one is left."""
    from dino_rl.scale.apex import ApexTrainer

    settings = replace(TINY_IDLE, engine="ray", on_ray=OnRaySettings(actors=1), steps=1500, validations=0)
    trainer = ApexTrainer(settings, tmp_path / "run")
    try:
        ((victim, _),) = trainer.env.whereabouts()
        browsers = [
            child for child in psutil.Process(victim).children(recursive=True) if "chrom" in child.name()
        ]
        assert browsers
        for _ in trainer.run():
            if trainer.step > 300 and psutil.pid_exists(victim):
                os.kill(victim, signal.SIGKILL)
        assert still_running(browsers, patience_s=10) == []
        assert trainer.step >= 1500
        assert trainer.learner.replay.shards[0].sample(64).observation.shape == (64, 80, 80, 4)
    finally:
        trainer.close()


def test_losing_a_machine_does_not_stop_the_run(tmp_path, every_turn):
    """Two nodes on loopback: actors on both; the second is killed."""
    from ray.cluster_utils import Cluster

    from dino_rl.scale.apex import ApexTrainer
    from dino_rl.scale.cluster import cluster

    head = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    two = Cluster(initialize_head=True, head_node_args=head)
    # Loopback, too, and to Ray another machine.
    second = two.add_node(num_cpus=2, node_ip_address="127.0.0.2")
    try:
        with cluster(two.address):
            settings = replace(CARTPOLE, steps=12_000, validations=0)
            trainer = ApexTrainer(settings, tmp_path / "run")
            try:
                assert len({place for _, place in trainer.env.whereabouts()}) == 2
                for _ in trainer.run():
                    if trainer.step > 3000 and second is not None:
                        two.remove_node(second, allow_graceful=False)
                        second = None
                assert trainer.step >= 12_000
                assert len({place for _, place in trainer.env.whereabouts()}) == 1
            finally:
                trainer.close()
    finally:
        two.shutdown()


def test_our_own_cluster_listens_to_this_machine_only(local_cluster):
    ours = psutil.Process().children(recursive=True)
    sockets = [each for process in ours for each in process.net_connections("inet")]
    listening = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_no_cluster_there_is_one_line(cli, tmp_path):
    code, _, err = cli(
        "train", "--engine", "ray", "--ray-address", "127.0.0.1:1", "--run-dir", tmp_path / "run"
    )
    assert code == 2
    assert "No Ray cluster at 127.0.0.1:1" in err
    assert err.count("\n") == 1


# --- RLlib -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rllib_run(tmp_path_factory, account) -> Path:
    """Two iterations of PPO on CartPole by the command line, in a process of its own."""
    directory = tmp_path_factory.mktemp("rllib") / "run"
    arguments = ("--env", "CartPole-v1", "--engine", "rllib", "--algo", "ppo", "--steps", 4000)
    code, out, err = finish(command("train", *arguments, "--run-dir", directory), timeout_s=600)
    assert code == 0, err
    assert f"play --model {directory}" in out
    return directory


def test_a_run_by_rllib_leaves_what_every_run_leaves(rllib_run):
    episodes = read_table(rllib_run / "episodes.csv")
    assert sum(episodes["length"]) <= read_table(rllib_run / "intervals.csv")["step"][-1]
    assert np.add(episodes["left"], episodes["right"]).tolist() == episodes["length"] == episodes["return"]
    assert len(set(episodes["env"])) == 8
    card = json.loads((rllib_run / "best.json").read_text())
    assert (card["algorithm"], card["settings"]["engine"]) == ("ppo", "rllib")
    assert (rllib_run / "checkpoint" / "state.json").exists()


def test_the_best_of_a_run_by_rllib_plays(rllib_run, cli, tmp_path):
    code, _, err = cli("evaluate", "--model", rllib_run, "--games", 3, "--json", tmp_path / "e.json")
    assert code == 0, err
    validated = json.loads((rllib_run / "best.json").read_text())["validation"]
    assert json.loads((tmp_path / "e.json").read_text())["mean"] == pytest.approx(validated["mean"], rel=0.5)


def test_a_run_by_rllib_goes_on(rllib_run, tmp_path):
    shutil.copytree(rllib_run, tmp_path / "run")
    code, _, err = finish(command("train", "--resume", tmp_path / "run", "--steps", 6000), timeout_s=600)
    assert code == 0, err
    table = read_table(tmp_path / "run" / "intervals.csv")
    assert table["step"][-1] >= 6000
    assert table["episodes"][-1] > read_table(rllib_run / "intervals.csv")["episodes"][-1]


def test_pickles_of_somebody_else_ask_for_trust(rllib_run, cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another account"))
    for arguments in (("evaluate", "--games", 1, "--model"), ("train", "--steps", 9000, "--resume")):
        code, _, err = cli(*arguments, rllib_run)
        assert code == 2
        assert "--trust" in err
        assert "can run any code" in err
        assert err.count("\n") == 1
    assert cli("evaluate", "--games", 1, "--model", rllib_run, "--trust")[0] == 0


def test_a_pickle_that_was_changed_is_not_loaded(rllib_run, tmp_path):
    from dino_rl.scale.rllib import RLlibModel

    shutil.copytree(rllib_run, tmp_path / "run")
    RLlibModel(tmp_path / "run" / "best")
    with (tmp_path / "run" / "best" / "class_and_ctor_args.pkl").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="changed since"):
        RLlibModel(tmp_path / "run" / "best")


def test_ctrl_c_saves_a_run_by_rllib(tmp_path):
    arguments = ("--env", "CartPole-v1", "--engine", "rllib", "--algo", "dqn", "--minutes", 20)
    process = command("train", *arguments, "--run-dir", tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "episodes.csv").exists())
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process, timeout_s=200)
    assert code == 130, err
    assert "--resume" in out
    assert (tmp_path / "run" / "checkpoint" / "signature").exists()


def test_the_dino_by_rllib_plays_all_games_of_a_runner_in_one_browser(tmp_path, local_cluster):
    from dino_rl.engines import load_model, make_trainer

    rllib = replace(PRESETS["dino-rllib-dqn"].rllib, learning_starts=100, env_runners=1)
    settings = replace(TINY_IDLE, engine="rllib", rllib=rllib, steps=300)
    trainer = make_trainer(replace(settings, env=replace(settings.env, greedy_envs=0)), tmp_path / "run")
    try:
        for _ in trainer.run():
            pass
    finally:
        trainer.close()
    assert trainer.step >= 300
    model = load_model(tmp_path / "run")
    assert model.values(np.zeros((2, 80, 80, 4), np.uint8)).shape == (2, 3)
    hidden = [each for each in model._module.parameters() if each.ndim == 2 and len(each) == 256]
    assert len(hidden) == 2  # of both heads: RLlib has none after its convolutions by itself


def test_networks_for_images_see_no_brightness_and_begin_with_the_actions_they_are_told():
    from dino_rl.scale.rllib import module_spec, module_values

    settings = PRESETS["dino-rllib-ppo"]
    spec = module_spec(settings, is_image=True)
    spec.observation_space = gymnasium.spaces.Box(0, 255, (80, 80, 4), np.uint8)
    spec.action_space = gymnasium.spaces.Discrete(3)
    images = np.random.default_rng(1).integers(0, 200, (2, 80, 80, 4), np.uint8)
    values = module_values(spec.build(), np.concatenate([images, images + 50]))
    np.testing.assert_allclose(values, np.tile(settings.rllib.initial_action_weights, (4, 1)), atol=0.1)
    np.testing.assert_allclose(values[:2], values[2:], atol=1e-5)


def test_rllib_learns_from_every_state_of_an_episode_to_its_last():
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode
    from ray.rllib.utils.replay_buffers import PrioritizedEpisodeReplayBuffer

    from dino_rl.scale.rllib import algorithm_config

    settings = PRESETS["dino-rllib-dqn"]
    assert settings.rllib.n_step > 1
    buffer = PrioritizedEpisodeReplayBuffer(capacity=100)
    steps = 8
    buffer.add(
        SingleAgentEpisode(
            observations=[np.float32(i) for i in range(steps + 1)],
            actions=[0] * steps,
            rewards=[0.0] * (steps - 1) + [-1.0],
            terminated=True,
            len_lookback_buffer=0,
        )
    )
    n_step = algorithm_config(settings, is_image=True).n_step
    drawn = buffer.sample(num_items=400, n_step=n_step, gamma=1.0, beta=0.4)
    assert {episode.t_started for episode in drawn} == set(range(steps))
    assert {episode.is_terminated for episode in drawn if episode.t_started == steps - 1} == {True}
    spans = {int(episode.get_extra_model_outputs("n_step", 0)) for episode in drawn}
    assert spans == set(range(1, settings.rllib.n_step + 1))


# --- The search ------------------------------------------------------------------------------------------


def test_a_search_ranks_its_trials_and_an_interrupted_one_goes_on(cli, tmp_path):
    directory = tmp_path / "search"
    arguments = ("--env", "CartPole-v1", "--algo", "cem", "--stop-return", 30, "--steps", 6000)
    arguments += ("--widths", "16,32", "--activations", "relu", "--learning-rates", "1e-3,1e-2")
    code, out, err = cli("tune", *arguments, "--run-dir", directory)
    assert code == 0, err
    command_line = out.strip().splitlines()[-1]
    assert command_line.startswith("python run_dino.py train --env CartPole-v1")
    assert "--width" in command_line
    assert "--learning-rate" in command_line
    rows = (directory / "ranking.csv").read_text().splitlines()
    assert len(rows) == 3
    assert (directory / "search-light.png").exists()
    # As if the second trial had not ended: only that one is made again.
    outcomes = sorted((directory / "trials").glob("*/outcome.json"))
    untouched, lost = (path.parent for path in outcomes)
    before = (untouched / "episodes.csv").stat().st_mtime_ns
    shutil.rmtree(lost)
    code, out, err = cli("tune", "--resume", directory)
    assert code == 0, err
    assert (directory / "ranking.csv").read_text().splitlines()[0] == rows[0]
    assert len((directory / "ranking.csv").read_text().splitlines()) == 3
    assert (untouched / "episodes.csv").stat().st_mtime_ns == before
    assert (lost / "outcome.json").exists()


def test_a_search_that_reaches_nothing_says_so(cli, tmp_path):
    arguments = ("--env", "CartPole-v1", "--stop-return", 400, "--steps", 1200, "--scheduler", "asha")
    arguments += ("--widths", "16", "--activations", "relu,tanh")
    code, out, err = cli("tune", *arguments, "--run-dir", tmp_path / "search")
    assert code == 0, err
    assert "No trial reached the target" in out
    assert len((tmp_path / "search" / "ranking.csv").read_text().splitlines()) == 3
