"""Files and command lines that nobody wrote: whatever they hold, the answer is a result or one line.

About 500 cases run with all tests; DINO_RL_FUZZ=20 makes it twenty times as many.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_train import changed, train

from dino_rl import recipe
from dino_rl.browser.game_settings import GameSettings
from dino_rl.cli.main import COMMANDS, build_parser, main
from dino_rl.cli.train import chosen_config, saved_config
from dino_rl.config import from_dict
from dino_rl.envs.gym.make import GymConfig
from dino_rl.errors import DinoError
from dino_rl.experiment import make_run
from dino_rl.player import build_network, load_player
from dino_rl.presets import default_for, recipes
from dino_rl.runs import checkpoint
from dino_rl.runs.csv_log import Table, read_table
from dino_rl.runs.model_file import load_weights
from dino_rl.runs.plots import plot_run
from dino_rl.runs.recorded_game import RecordedGame
from dino_rl.runs.run_directory import RunDirectory, find_runs
from dino_rl.runs.search_results import load_outcomes
from dino_rl.train_config import to_data

TIMES = int(os.environ.get("DINO_RL_FUZZ", "1"))


def cases(count: int):
    """Settings of a test: so many cases, times DINO_RL_FUZZ."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def answered():
    """What may come of strange input: a result, or an error of one line."""
    try:
        yield
    except DinoError as error:
        text = str(error)
        assert text.strip()
        assert "\n" not in text, text
        assert len(text) < 2000


# --- Strange values ----------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400]),
    st.floats(),
    st.sampled_from([1e308, -0.0, float("nan"), float("inf"), float("-inf")]),
    st.text(max_size=20),
    st.sampled_from(
        ["", "\0", "../../x", "/etc/passwd", "[/x]", "$x^$", "dqn", "cem", "keras", "ray", "\ud800"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)


def places(data, place=()):
    """All places in nested data."""
    yield place
    if isinstance(data, dict):
        for name, value in data.items():
            yield from places(value, (*place, name))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from places(value, (*place, i))


@st.composite
def changed_data(draw, data):
    """Nested data with some values replaced, removed or added."""
    data = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places(data))))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                data = draw(VALUES)
            continue
        inner = data
        for name in place[:-1]:
            inner = inner[name]
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if what == "replace":
            inner[place[-1]] = draw(VALUES)
        elif what == "remove":
            del inner[place[-1]]
        elif isinstance(inner, dict):
            inner[draw(st.text(max_size=8))] = draw(VALUES)
    return data


@st.composite
def changed_bytes(draw, content: bytes):
    """A file that was cut, overwritten in places, or filled up."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(["flip", "flip", "cut", "insert", "zeros", "numbers"]))
        at = draw(st.integers(0, max(0, len(content) - 1)))
        if what == "cut":
            del content[at:]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=30))
        elif what == "zeros":
            content[at : at + draw(st.integers(1, 64))] = bytes(64)
        elif what == "numbers":
            content[at : at + 8] = draw(st.sampled_from([b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"99999999"]))
        elif content:
            content[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


def dump(data) -> str:
    return json.dumps(data)  # NaN and Infinity, as Python writes them


# --- Files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory of this module's, for one case after the other."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The directory of a whole run."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    config = changed(
        default_for("CartPole-v1"),
        env={"num_envs": 4},
        dqn={"replay": {"capacity": 400}, "learning_starts": 100, "batch_size": 8, "updates_per_call": 1},
        run={"steps": 600, "minutes": None, "validations": 1, "validation_games": 2, "stop_return": None},
    )
    train(config, directory)
    return directory


def look_at(run_dir: Path):
    """Everything that a run's directory is asked."""
    run = RunDirectory(run_dir)
    _ = run.name, run.env, run.algorithm, run.actions, run.target, run.started
    _ = run.score_name, run.steps, run.minutes, run.best_validation, run.has_curves


ABOUT = {
    "settings": to_data(recipes()["dino"]),
    "actions": ["nothing", "jump", "duck"],
    "score": "score",
    "versions": {"python": "3.11"},
}


@cases(70)
@given(changed_data(json.loads(dump(ABOUT))))
def test_run_json(place, data):
    (place / "run.json").write_text(dump(data))
    with answered():
        look_at(place)
    with answered():
        saved_config(place)
    find_runs(place.parent)


@cases(40)
@given(changed_bytes(dump(ABOUT).encode()))
def test_bytes_of_run_json(place, content):
    (place / "run.json").write_bytes(content)
    with answered():
        look_at(place)
    with answered():
        saved_config(place)


TABLE = "step,minutes,mean,score\n" + "".join(f"{i},{i / 7:.6g},{i % 5},nan\n" for i in range(20))


@cases(60)
@given(changed_bytes(TABLE.encode()))
def test_tables(place, content):
    path = place / "table.csv"
    path.write_bytes(content)
    with answered():
        for column in read_table(path).values():
            assert np.isfinite(column).all() or np.isnan(column).any()
    with answered():
        table = Table(path, ("step", "minutes", "mean", "score"), step=10)
        table.add({"step": 11, "minutes": 0.5, "mean": 1.0, "score": 2})
        table.close()
        assert read_table(path)["step"][-1] == 11


@cases(5)
@given(st.data())
def test_tables_that_are_drawn(finished, place, data):
    run_dir = place / "drawn"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(finished, run_dir)
    name = data.draw(st.sampled_from(["episodes.csv", "intervals.csv", "validations.csv"]))
    (run_dir / name).write_bytes(data.draw(changed_bytes((run_dir / name).read_bytes())))
    with answered():
        plot_run(run_dir)
    with answered():
        look_at(run_dir)


def test_a_table_whose_last_row_is_cut_is_drawn(finished, place):
    run_dir = place / "cut"
    shutil.copytree(finished, run_dir)
    table = run_dir / "validations.csv"
    table.write_text(table.read_text(encoding="utf-8").splitlines()[0] + "\n6\n", encoding="utf-8")
    assert plot_run(run_dir)


GAME = {"seed": 1, "settings": {"start_speed": 7.5, "action_delay": [0.5, 0.5]}, "score": 50, "capped": False}


@cases(60)
@given(st.data())
def test_recorded_games(place, data):
    path = place / "game.json"
    RecordedGame(1, GAME["settings"], 2, "chrome 156", 50, False, np.arange(30) % 3).save(path)
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_text(dump(data.draw(changed_data(json.loads(whole)))))
    else:
        path.write_bytes(data.draw(changed_bytes(whole)))
    with answered():
        game = RecordedGame.load(path)
        from_dict(GameSettings, game.settings)
        assert set(game.actions) <= {0, 1, 2}
        assert 0 <= game.seed < 2**32


CONFIG = {
    "env": {"id": "CartPole-v1"},
    **{k: v for k, v in to_data(recipes()["cartpole"]).items() if k == "dqn"},
}


@cases(60)
@given(st.data())
def test_configuration_files(place, data):
    path = place / "config.yaml"
    text = dump(CONFIG)
    if data.draw(st.booleans()):
        path.write_text(dump(data.draw(changed_data(CONFIG))))
    else:
        path.write_bytes(data.draw(changed_bytes(text.encode())))
    with answered():
        recipe.choose(config_file=path)


OUTCOME = {
    "width": 64, "activation": "relu", "learning_rate": 0.001, "reached": True, "steps": 100, "seconds": 1.5,
    "return_mean": 9.0,
}  # fmt: skip


@cases(20)
@given(changed_data(OUTCOME))
def test_outcomes_of_trials(place, data):
    (place / "trials" / "one").mkdir(parents=True, exist_ok=True)
    (place / "trials" / "one" / "outcome.json").write_text(dump(data))
    with answered():
        for outcome in load_outcomes(place / "trials"):
            assert "/" not in outcome.name


# --- Models and checkpoints --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pole(tmp_path_factory) -> Path:
    """An untrained model that balances a pole."""
    path = tmp_path_factory.mktemp("pole") / "pole.h5"
    return write_model(path, (4,), 2, "dense", np.float32, GymConfig("CartPole-v1"))


@cases(25)
@given(st.data())
def test_cards(pole, place, data):
    path = place / "card.h5"
    shutil.copy(pole, path)
    card = json.loads(pole.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(dump(data.draw(changed_data(card))))
    with answered():
        player = load_player(path)
        player.check(player.task.spec)
        player.warm_up(2)


@pytest.fixture(scope="module")
def network(pole):
    return build_network(load_player(pole).config, (4,), 2)


@cases(60)
@given(st.data())
def test_weights(pole, network, place, data):
    path = place / "weights.h5"
    path.write_bytes(data.draw(changed_bytes(pole.read_bytes())))
    with answered():
        load_weights(network, path)


@pytest.fixture(scope="module")
def resumed(finished):
    """An algorithm that checkpoints are restored into, again and again."""
    config = saved_config(finished)
    with make_run(config, finished, resume=True) as run:
        yield run


@cases(40)
@given(st.data())
def test_states_of_checkpoints(finished, resumed, place, data):
    run_dir = place / "state"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(finished / "checkpoint", run_dir / "checkpoint")
    path = run_dir / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    path.write_text(dump(data.draw(changed_data(state))))
    with answered():
        restored = checkpoint.load_state(run_dir)
        with checkpoint.reading(run_dir):
            resumed.algorithm.restore(run_dir, restored)
            run = type(resumed)(resumed.config, resumed.algorithm, resumed.callbacks[:6], restored)
            _ = run.progress, run.seconds_left, run.finished


@cases(20)
@given(st.data())
def test_bytes_of_checkpoints(finished, resumed, place, data):
    run_dir = place / "bytes"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(finished / "checkpoint", run_dir / "checkpoint")
    paths = sorted((run_dir / "checkpoint").iterdir())
    path = data.draw(st.sampled_from(paths))
    path.write_bytes(data.draw(changed_bytes(path.read_bytes())))
    with answered():
        resumed.algorithm.restore(run_dir, checkpoint.load_state(run_dir))


# --- The command line --------------------------------------------------------------------------------------


def options_of(name: str) -> list[str]:
    (commands,) = (
        action for action in build_parser()._actions if action.choices and action.dest != "print_completion"
    )
    return [option for action in commands.choices[name]._actions for option in action.option_strings]


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "-1", "1e999", "nan", "0x10", "9" * 400, "--", "-", "cem", "dqn", "ray", "CartPole-v1"]
    ),
    st.sampled_from(
        ["Nope-v0", "ALE/Breakout-v5", "os:x", "../x", "\udcff", "a:b", ":", "a.b:c", "dino_rl:X-v0"]
    ),
)
FIELDS = [".".join(place) for place in places(to_data(recipes()["cartpole"])) if place]


@cases(60)
@given(st.data())
def test_command_lines(data):
    name = data.draw(st.sampled_from(COMMANDS))
    words = [name]
    for _ in range(data.draw(st.integers(0, 5))):
        words += [data.draw(st.sampled_from(options_of(name))), data.draw(WORDS)]
    words = [word for word in words if word not in ("-h", "--help")]
    with answered():
        try:
            options = build_parser().parse_args(words)
        except SystemExit:  # --version and the like
            return
        if name == "train" and not options.resume:
            chosen_config(options)


@cases(60)
@given(st.data())
def test_fields_of_the_command_line(data):
    words = ["train", "--env", "CartPole-v1"]
    for _ in range(data.draw(st.integers(1, 3))):
        field = data.draw(st.one_of(st.sampled_from(FIELDS), st.text(max_size=10)))
        value = data.draw(st.one_of(WORDS, VALUES.map(str), VALUES.map(repr)))
        words += ["--set", f"{field}={value}"]
    with answered():
        chosen_config(build_parser().parse_args(words))


# --- What is no file ---------------------------------------------------------------------------------------


def a_pipe(path: Path):
    os.mkfifo(path)


def a_directory(path: Path):
    path.mkdir()


def a_loop(path: Path):
    path.symlink_to(path)


def a_gigabyte_of_nothing(path: Path):
    with path.open("wb") as file:
        file.truncate(2**30)


def another_encoding(path: Path):
    path.write_bytes("step,mean\n1,ä\n".encode("latin-1"))


def deep(path: Path):
    path.write_text("[" * 100_000)


def many_digits(path: Path):
    path.write_text('{"settings": ' + "9" * 100_000 + "}")


def aliases(path: Path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    path.write_text("\n".join(lines))


STRANGE = (a_pipe, a_directory, a_loop, a_gigabyte_of_nothing, another_encoding, deep, many_digits, aliases)
COMMANDS_ON_FILES = {
    "run.json": (("plot", "."), ("train", "--resume", "."), ("runs", "--compare", ".")),
    "checkpoint/state.json": (("train", "--resume", "."),),
    "model.h5": (
        ("evaluate", "--model", "model.h5"),
        ("play", "--model", "model.h5"),
        ("record", "--model", "model.h5"),
    ),
    "model.json": (("evaluate", "--model", "model.h5"),),
    "game.json": (("replay", "game.json"),),
    "config.yaml": (("train", "--config", "config.yaml"),),
    "episodes.csv": (("plot", "."),),
    "intervals.csv": (("plot", "."),),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strange", STRANGE, ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", COMMANDS_ON_FILES)
def test_what_is_no_file_of_ours(name, strange, finished, pole, tmp_path, monkeypatch, capfd):
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for suffix in (".h5", ".json"):
        shutil.copy(pole.with_suffix(suffix), f"model{suffix}")
    path = Path(name)
    path.unlink(missing_ok=True)
    strange(path)
    for words in COMMANDS_ON_FILES[name]:
        capfd.readouterr()
        code = main(list(words))
        lines = capfd.readouterr().err.strip().splitlines()
        assert code == 2, (words, lines)
        assert len(lines) == 1
        assert lines[0].startswith("dino-rl: ")
        assert len(lines[0]) < 1000
