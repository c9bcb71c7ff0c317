"""Actors, RLlib and the search, which run on Ray. `make test-ray`."""

import json
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import command, finish, runs, still_running, wait_for
from tiny_run import TINY_IDLE

from dino_rl import recipe
from dino_rl.agents.agent import Transition
from dino_rl.errors import EnvError, ModelError
from dino_rl.experiment import make_run
from dino_rl.presets import default_for, preset
from dino_rl.runs.csv_log import read_table
from dino_rl.scale.config import ActorsConfig
from dino_rl.train_config import TrainConfig
from dino_rl.training.run import Callback

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

RAY_NAMES = ("raylet", "gcs_server", "ray::")


def changed(config: TrainConfig, **of_run) -> TrainConfig:
    """The configuration with other values in its section `run`."""
    return replace(config, run=replace(config.run, **of_run))


CARTPOLE = changed(
    default_for("CartPole-v1", engine="ray"), steps=4_000, minutes=None, stop_return=None, validations=1
)


class OnSlice(Callback):
    """Calls a function with the run after each slice."""

    def __init__(self, call: Callable):
        self._call = call

    def on_slice(self, run, part):
        self._call(run)


def kill_after(victim: int, step: int) -> OnSlice:
    """A callback that kills a process once the run has passed a step."""

    def kill(run):
        if run.step > step and psutil.pid_exists(victim):
            os.kill(victim, signal.SIGKILL)

    return OnSlice(kill)


def ray_processes() -> set[psutil.Process]:
    """All processes of Ray on this machine."""
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
    """A signing key for the tests only, and a directory for Ray where the names of sockets have 107 bytes at
    most."""
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("account")))
        patch.setenv("RAY_TMPDIR", short)
        yield
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left(account, no_new_browsers) -> Iterator[None]:
    """No process of Ray and no browser of an actor outlives its test."""
    before = ray_processes()
    yield
    left = still_running(list(ray_processes() - before), patience_s=20)
    assert not left, [" ".join(process.cmdline())[:100] for process in left]


@pytest.fixture
def local_cluster():
    from dino_rl.scale.cluster import cluster

    with cluster(workers=3):
        yield


# --- Actors ----------------------------------------------------------------------------------------------


def test_the_epsilon_ladder_is_that_of_the_paper():
    from dino_rl.scale.actors import epsilon_ladder

    config = replace(
        CARTPOLE, env=replace(CARTPOLE.env, num_envs=3, greedy_envs=1), actors=ActorsConfig(actors=4)
    )
    ladders = np.stack([epsilon_ladder(config, actor) for actor in range(4)])
    np.testing.assert_array_equal(ladders[:, 2], 0.0)  # greedy environments do not explore
    epsilons = np.sort(ladders[:, :2].ravel())[::-1]
    np.testing.assert_allclose(epsilons, 0.4 ** (1 + np.arange(8) / 7 * 7))
    one = replace(config, env=replace(config.env, num_envs=2), actors=ActorsConfig(actors=1))
    assert np.isfinite(epsilon_ladder(one, 0)).all()


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
    # As many updates for each step as in one process: 16 samples per insert, in batches of 64.
    assert intervals["updates"][-1] == pytest.approx((intervals["step"][-1] - 1000) * 16 / 64, rel=0.1)
    assert cli("evaluate", "--model", run_dir, "--games", 3)[0] == 0
    code, _, err = cli("train", "--resume", run_dir, "--steps", 6000)
    assert code == 0, err
    assert read_table(run_dir / "intervals.csv")["step"][-1] >= 6000


def test_a_killed_actor_is_started_again(local_cluster, tmp_path):
    with make_run(changed(CARTPOLE, steps=12_000, validations=0), tmp_path / "run") as run:
        victim, survivor = (pid for pid, _ in run.algorithm.pool.processes_and_nodes())
        run.callbacks.append(kill_after(victim, step=3000))
        run.run()
        now = [pid for pid, _ in run.algorithm.pool.processes_and_nodes()]
        assert now[1] == survivor
        assert now[0] != victim
        # No step is counted that is not in the replay memory.
        assert sum(map(len, run.algorithm.replay.shards)) == run.step >= 12_000


def test_the_browser_of_a_killed_actor_ends_and_the_run_continues(local_cluster, tmp_path):
    """`no_new_browsers` checks that none is left."""
    config = replace(TINY_IDLE, engine="ray", actors=ActorsConfig(actors=1))
    with make_run(changed(config, steps=1500, validations=0), tmp_path / "run") as run:
        ((victim, _),) = run.algorithm.pool.processes_and_nodes()
        browsers = [
            child for child in psutil.Process(victim).children(recursive=True) if "chrom" in child.name()
        ]
        assert browsers
        run.callbacks.append(kill_after(victim, step=300))
        run.run()
        assert still_running(browsers, patience_s=10) == []
        assert run.step >= 1500
        assert run.algorithm.replay.shards[0].sample(64).observation.shape == (64, 80, 80, 4)


def test_losing_a_machine_does_not_stop_the_run(tmp_path):
    """Two nodes on loopback, with an actor on each; the second node is killed."""
    from ray.cluster_utils import Cluster

    from dino_rl.scale.cluster import cluster

    head = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    two = Cluster(initialize_head=True, head_node_args=head)
    # Loopback, too, but another machine to Ray.
    nodes = [two.add_node(num_cpus=2, node_ip_address="127.0.0.2")]

    frames: list[int] = []  # of each actor's shard, when the node was lost

    def remove_node(run):
        shards = [len(shard) for shard in run.algorithm.replay.shards]
        if run.step > 3000 and nodes:
            two.remove_node(nodes.pop(), allow_graceful=False)
            frames.extend(shards)
        # Ray needs some seconds to notice the loss, and may first start the new actor on the lost node.
        elif run.step >= 12_000 and all(
            now > before + 2000 for now, before in zip(shards, frames, strict=True)
        ):
            run.stopped = True

    config = changed(CARTPOLE, steps=10**6, validations=0)
    try:
        with (
            cluster(two.address),
            make_run(config, tmp_path / "run", [OnSlice(remove_node)]) as run,
        ):
            assert len({node for _, node in run.algorithm.pool.processes_and_nodes()}) == 2
            run.run()
            assert 12_000 <= run.step < 10**6
            assert len({node for _, node in run.algorithm.pool.processes_and_nodes()}) == 1
    finally:
        two.shutdown()


class PoolWithALoss:
    """Its one actor sends eight steps and is then lost; the next one sends eight steps.

    Observations count the steps, and those of the second actor start at 100.
    """

    def __init__(self, config: TrainConfig):
        self._calls = 0

    def publish(self, weights, version):
        pass

    def play(self):
        pass

    def wait(self, timeout_s: float):
        from dino_rl.scale.actors import Rollout

        start = 100 * self._calls
        self._calls += 1
        steps, nothing = np.arange(start, start + 8.0), np.zeros((8, 1), bool)
        first = nothing.copy()
        first[0] = True
        observations = np.repeat(steps[:, None, None], 4, axis=2).astype(np.float32)
        actions = np.zeros((8, 1), int)
        transitions = Transition(
            observations, first, nothing, actions, np.ones((8, 1)), *[nothing] * 3, np.zeros((8, 1, 2))
        )
        return [Rollout(0, transitions, [], 0)], [0] if self._calls == 1 else []


def test_no_transition_leads_from_a_lost_actor_to_the_next(monkeypatch):
    from dino_rl.envs.registry import make_task
    from dino_rl.experiment import random_generators
    from dino_rl.scale import apex

    monkeypatch.setattr(apex, "ActorPool", PoolWithALoss)
    config = replace(
        CARTPOLE, env=replace(CARTPOLE.env, num_envs=1, greedy_envs=0), actors=ActorsConfig(actors=1)
    )
    algorithm = apex.ApexAlgorithm(config, make_task(config.env), random_generators(0))
    assert [algorithm.iterate(8 * i, 0.0).steps for i in range(2)] == [8, 8]
    batch = algorithm.replay.sample(200)
    started, ended = batch.observation[:, 0], batch.next_observation[:, 0]
    assert {started.min() < 100, started.max() >= 100} == {True}  # both actors' steps are sampled
    np.testing.assert_array_equal(started < 100, ended < 100)


def test_an_actor_that_fails_again_and_again_ends_the_run(local_cluster, tmp_path, monkeypatch):
    """And the reason is in the message."""
    from dino_rl.scale import actor_pool, actors

    class Failing(actors.Actor):
        def open(self):
            pass

        def roll_out(self, weights, version):
            raise EnvError("The browser is gone.")

    monkeypatch.setattr(actor_pool, "_RemoteActor", ray.remote(num_cpus=1, max_restarts=0)(Failing))
    monkeypatch.setattr(actor_pool, "MAX_RESTARTS", 1)
    with (
        make_run(changed(CARTPOLE, validations=0), tmp_path / "run") as run,
        pytest.raises(EnvError, match=r"lost 1 times in a row \(The browser is gone"),
    ):
        run.run()


def test_our_own_cluster_listens_to_this_machine_only(local_cluster):
    ours = psutil.Process().children(recursive=True)
    sockets = [each for process in ours for each in process.net_connections("inet")]
    listening = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_missing_cluster_is_one_line(cli, tmp_path):
    code, _, err = cli(
        "train", "--engine", "ray", "--ray-address", "127.0.0.1:1", "--run-dir", tmp_path / "run"
    )
    assert code == 2
    assert "No Ray cluster at 127.0.0.1:1" in err
    assert err.count("\n") == 1


# --- RLlib -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rllib_run(tmp_path_factory, account) -> Path:
    """Two iterations of PPO on CartPole by the command line, in a separate process."""
    directory = tmp_path_factory.mktemp("rllib") / "run"
    arguments = ("--env", "CartPole-v1", "--engine", "rllib", "--algo", "ppo", "--steps", 4000)
    code, out, err = finish(command("train", *arguments, "--run-dir", directory), timeout_s=600)
    assert code == 0, err
    assert f"play --model {directory}" in out
    return directory


def test_a_run_by_rllib_writes_what_every_run_writes(rllib_run):
    episodes = read_table(rllib_run / "episodes.csv")
    assert sum(episodes["length"]) <= read_table(rllib_run / "intervals.csv")["step"][-1]
    assert np.add(episodes["left"], episodes["right"]).tolist() == episodes["length"] == episodes["return"]
    assert len(set(episodes["env"])) == 8
    card = json.loads((rllib_run / "best.json").read_text())
    assert (card["algorithm"], card["settings"]["engine"]) == ("ppo", "rllib")
    assert (rllib_run / "checkpoint" / "state.json").exists()


def test_the_best_model_of_a_run_by_rllib_plays(rllib_run, cli, tmp_path):
    code, _, err = cli("evaluate", "--model", rllib_run, "--games", 3, "--json", tmp_path / "e.json")
    assert code == 0, err
    validated = json.loads((rllib_run / "best.json").read_text())["validation"]
    assert json.loads((tmp_path / "e.json").read_text())["mean"] == pytest.approx(validated["mean"], rel=0.5)


def test_a_run_by_rllib_resumes(rllib_run, tmp_path):
    shutil.copytree(rllib_run, tmp_path / "run")
    before = read_table(rllib_run / "intervals.csv")
    steps = int(before["step"][-1]) + 3000  # a run may end beyond its steps
    code, _, err = finish(command("train", "--resume", tmp_path / "run", "--steps", steps), timeout_s=600)
    assert code == 0, err
    table = read_table(tmp_path / "run" / "intervals.csv")
    assert table["step"][-1] >= steps
    assert table["episodes"][-1] > before["episodes"][-1]


def test_pickles_of_another_account_need_trust(rllib_run, cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another account"))
    code, _, err = cli("train", "--steps", 9000, "--resume", rllib_run)
    assert code == 2
    assert "--trust" in err
    assert "can run any code" in err
    assert err.count("\n") == 1
    assert cli("evaluate", "--games", 1, "--model", rllib_run)[0] == 0  # plays from plain weights


def test_a_model_of_rllib_is_plain_numbers(rllib_run, tmp_path, monkeypatch):
    import pickle

    from dino_rl.scale.rllib_player import RLlibPlayer

    assert [path.name for path in (rllib_run / "best").iterdir()] == ["weights.npz"]

    def refuse(*arguments, **named):
        raise AssertionError("a pickle was read")

    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    whole = RLlibPlayer(rllib_run / "best")
    seen = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert whole.values(seen).shape == (5, 2)
    np.testing.assert_allclose(whole.values(seen).sum(axis=1), 1, rtol=1e-5)


def damaged(path: Path, how: str):
    arrays = dict(np.load(path))
    name = next(iter(arrays))
    if how == "not finite":
        arrays[name] = np.full_like(arrays[name], np.nan)
    elif how == "shape":
        arrays[name] = np.zeros((3, 3), np.float32)
    elif how == "name":
        arrays["another"] = arrays.pop(name)
    elif how == "pickle":
        arrays[name] = np.array([{"a": 1}], object)
    elif how == "large":
        arrays["zeros"] = np.zeros(2**26, np.float32)
    np.savez_compressed(path, **arrays)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("how", ["not finite", "shape", "name", "pickle", "large", "cut"])
def test_damaged_weights_of_rllib_are_one_line(how, rllib_run, tmp_path):
    from dino_rl.scale.rllib_player import RLlibPlayer

    for name in ("best", "best.json"):
        source = rllib_run / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    damaged(tmp_path / "best" / "weights.npz", how)
    with pytest.raises(ModelError, match="is damaged, or does not match its card") as caught:
        RLlibPlayer(tmp_path / "best")
    assert "\n" not in str(caught.value)


def test_a_pickled_model_of_version_0_1_needs_trust_if_it_was_changed(local_cluster, tmp_path):
    from dino_rl.envs.registry import make_task
    from dino_rl.experiment import model_card
    from dino_rl.runs.model_file import save_card
    from dino_rl.scale.rllib_algorithm import RLlibAlgorithm
    from dino_rl.scale.rllib_player import RLlibPlayer
    from dino_rl.scale.trust import sign

    config = default_for("CartPole-v1", "ppo", "rllib")
    task = make_task(config.env)
    algorithm = RLlibAlgorithm(config, task)
    try:
        algorithm._module.save_to_path(tmp_path / "best")
    finally:
        algorithm.close()
    save_card(tmp_path / "best", model_card(config, task))
    with pytest.raises(ModelError, match="--trust"):
        RLlibPlayer(tmp_path / "best")
    sign(tmp_path / "best")
    assert RLlibPlayer(tmp_path / "best").values(np.zeros((1, 4), np.float32)).shape == (1, 2)
    with (tmp_path / "best" / "class_and_ctor_args.pkl").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="changed since"):
        RLlibPlayer(tmp_path / "best")


def test_a_run_by_rllib_that_diverges_is_one_line(cli, tmp_path):
    arguments = ("--env", "CartPole-v1", "--engine", "rllib", "--algo", "ppo", "--steps", 20_000)
    code, _, err = cli(
        "train",
        *arguments,
        "--learning-rate",
        "1e10",
        "--run-dir",
        tmp_path / "run",
        "--set",
        "run.validations=0",
    )
    assert code == 2, err
    assert "not finite" in err or "The loss is" in err
    assert err.count("\n") == 1


def test_ctrl_c_saves_a_run_by_rllib(tmp_path):
    arguments = ("--env", "CartPole-v1", "--engine", "rllib", "--algo", "dqn", "--minutes", 20)
    process = command("train", *arguments, "--run-dir", tmp_path / "run")
    wait_for(lambda: read_table(tmp_path / "run" / "episodes.csv"), process, timeout_s=200)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process, timeout_s=200)
    assert code == 130, err
    assert "--resume" in out
    assert (tmp_path / "run" / "checkpoint" / "signature").exists()


def test_the_dino_by_rllib_plays_all_games_of_a_runner_in_one_browser(tmp_path, local_cluster):
    from dino_rl.player import load_player

    rllib_dqn = replace(preset("dino-rllib-dqn").rllib_dqn, learning_starts=100, env_runners=1)
    env = replace(TINY_IDLE.env, greedy_envs=0)
    config = replace(TINY_IDLE, env=env, engine="rllib", dqn=None, rllib_dqn=rllib_dqn)
    with make_run(changed(config, steps=300), tmp_path / "run") as run:
        run.run()
    assert run.step >= 300
    player = load_player(tmp_path / "run")
    assert player.values(np.zeros((2, 80, 80, 4), np.uint8)).shape == (2, 3)
    hidden = [each for each in player._module.parameters() if each.ndim == 2 and len(each) == 256]
    assert len(hidden) == 2  # of both heads: without a setting, RLlib has none after its convolutions


def test_networks_for_images_ignore_brightness_and_begin_with_the_given_actions():
    from dino_rl.scale.rllib import module_spec, module_values

    config = preset("dino-rllib-ppo")
    spec = module_spec(config, is_image=True)
    spec.observation_space = gymnasium.spaces.Box(0, 255, (80, 80, 4), np.uint8)
    spec.action_space = gymnasium.spaces.Discrete(3)
    images = np.random.default_rng(1).integers(0, 200, (2, 80, 80, 4), np.uint8)
    values = module_values(spec.build(), np.concatenate([images, images + 50]))
    np.testing.assert_allclose(values, np.tile(config.rllib_ppo.initial_action_weights, (4, 1)), atol=0.1)
    np.testing.assert_allclose(values[:2], values[2:], atol=1e-5)


def test_rllib_learns_from_all_states_of_an_episode():
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode
    from ray.rllib.utils.replay_buffers import PrioritizedEpisodeReplayBuffer

    from dino_rl.scale.rllib import algorithm_config

    config = preset("dino-rllib-dqn")
    assert config.rllib_dqn.n_step > 1
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
    n_step = algorithm_config(config, is_image=True).n_step
    drawn = buffer.sample(num_items=400, n_step=n_step, gamma=1.0, beta=0.4)
    assert {episode.t_started for episode in drawn} == set(range(steps))
    assert {episode.is_terminated for episode in drawn if episode.t_started == steps - 1} == {True}
    spans = {int(episode.get_extra_model_outputs("n_step", 0)) for episode in drawn}
    assert spans == set(range(1, config.rllib_dqn.n_step + 1))


# --- The search ------------------------------------------------------------------------------------------


def test_a_search_ranks_its_trials_and_continues_after_an_interruption(cli, tmp_path):
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
    # As if the second trial had not ended: only that one runs again.
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


@pytest.mark.parametrize(
    ("chosen", "changes"),
    [
        ({"env": "CartPole-v1"}, ["run.stop_return=100", "dqn.replay.capacity=5000"]),
        ({"preset_name": "vectors-cem", "env": "CartPole-v1"}, ["run.minutes=3", "run.stop_return=10"]),
        ({"preset_name": "dino", "num_envs": 8}, ["env.variation.dino_x=[3, 5]", "run.stop_return=9"]),
        (
            {"env": "CartPole-v1", "engine": "rllib", "algo": "ppo", "actors": 2, "run": {"steps": 900}},
            ["run.stop_return=50.5", "rllib_ppo.epochs=3", "run.validations=0"],
        ),
    ],
)
def test_the_printed_command_trains_the_best_trial(chosen, changes):
    from dino_rl.cli.main import build_parser
    from dino_rl.cli.train import chosen_config
    from dino_rl.runs.search_results import Outcome
    from dino_rl.scale.search import train_command

    config = recipe.choose(**chosen, overrides=changes)
    best = Outcome(48, "elu", 1.23456e-3, True, 1000, 1.0, 100.0)
    line = train_command(config, chosen.get("preset_name"), best)
    words = shlex.split(line)
    assert words[:2] == ["python", "run_dino.py"]
    trained = chosen_config(build_parser().parse_args(words[2:]))
    assert trained == recipe.with_network(config, best.width, best.activation, best.learning_rate)
    for option in ("--width", "--activation", "--learning-rate", "--seed", "--stop-return"):
        assert option in words
