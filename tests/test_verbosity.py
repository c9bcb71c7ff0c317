"""--quiet and --verbose, and what commands write into a pipe."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import command, finish, write_model

from dino_rl.cli.main import build_parser
from dino_rl.envs.gym.make import GymConfig
from dino_rl.errors import DinoError


@pytest.fixture(scope="module")
def cartpole_model(tmp_path_factory) -> Path:
    """An untrained model that balances a pole."""
    path = tmp_path_factory.mktemp("model") / "pole.h5"
    return write_model(path, (4,), 2, "dense", np.float32, GymConfig("CartPole-v1"))


@pytest.mark.parametrize("words", [("--quiet", "plot"), ("plot", "--quiet"), ("-q", "plot"), ("plot", "-q")])
def test_before_the_command_and_after_it(words):
    options = build_parser().parse_args([*words, "run"])
    assert options.quiet is True
    assert not hasattr(options, "verbose")


def test_quiet_and_verbose_are_not_for_one_command():
    with pytest.raises(DinoError, match="not allowed with"):
        build_parser().parse_args(["plot", "-q", "-v", "run"])


def test_quiet_leaves_the_result(cli, cartpole_model):
    arguments = ("evaluate", "--model", cartpole_model, "--games", 3)
    _, out, _ = cli(*arguments)
    assert "seed 0: " in out
    code, quiet, err = cli(*arguments, "--quiet")
    assert (code, err) == (0, "")
    assert "seed 0: " not in quiet
    table = out[out.index("mean") :]
    assert quiet.endswith(table)
    assert cli(*arguments)[1] == out  # and the next command is not quiet


def test_quiet_leaves_errors(cli):
    code, out, err = cli("plot", "nowhere", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("dino-rl: nowhere is not a run directory")


def test_a_quiet_run_says_where_its_model_is(cli, tmp_path):
    arguments = ("--env", "CartPole-v1", "--steps", 400, "--num-envs", 2, "--run-dir", tmp_path / "run")
    code, out, err = cli("train", *arguments, "--set", "run.validations=1", "--quiet")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.startswith("Done. Watch it: ")


def test_verbose_shows_where_an_error_comes_from(cli):
    _, _, err = cli("--verbose", "plot", "nowhere")
    assert "Traceback (most recent call last)" in err
    assert "FileNotFoundError" in err  # its cause
    assert err.splitlines()[-1].startswith("dino-rl: nowhere is not a run directory")
    _, _, err = cli("plot", "nowhere")
    assert "Traceback" not in err


def test_verbose_shows_debug_messages(cli, cartpole_model):
    arguments = ("evaluate", "--model", cartpole_model, "--games", 1)
    _, out, err = cli(*arguments, "-v")
    assert re.search(r"^ *\d+ ms  dino_rl\.player: loaded .*pole\.h5: [\d,]+ parameters$", err, re.M)
    assert "ms  dino_rl" not in out
    assert cli(*arguments)[2] == ""


LONG = {  # what takes long, with the words that a line of each begins with
    "train": (("--env", "CartPole-v1", "--steps", 2000, "--set", "run.validations=1"), "validation"),
    "evaluate": (("--games", 4), "seed 3: "),
    "record": (("--seconds", 1), "trained agent: "),
}


@pytest.mark.parametrize("name", LONG)
def test_a_pipe_gets_lines_and_no_control_codes(name, cartpole_model, tmp_path):
    arguments, start = LONG[name]
    place = ("--run-dir", tmp_path / "run") if name == "train" else ("--model", cartpole_model)
    out_file = ("--out", tmp_path / "video.mp4") if name == "record" else ()
    code, out, err = finish(command(name, *arguments, *place, *out_file, TERM="xterm-256color"))
    assert (code, err) == (0, "")
    assert any(line.startswith(start) for line in out.splitlines()), out
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", out) == []


@pytest.mark.browser
def test_debug_messages_of_the_browser(tmp_path, cli, no_new_browsers):
    arguments = ("train", "--steps", 50, "--num-envs", 2, "--run-dir", tmp_path / "run", "--set")
    code, _, err = cli("-v", *arguments, "run.validations=0")
    assert code == 0
    assert "dino_rl.browser.chrome: started chrome" in err
    assert "saved a checkpoint at step 50" in err
