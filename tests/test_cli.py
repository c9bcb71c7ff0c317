"""The command line: help that answers at once, and everything that a user can get wrong."""

import argparse
import json
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, browser_processes, command, files_below, finish, wait_for, write_model

from dino_rl.browser import chrome
from dino_rl.cli.main import COMMANDS, build_parser
from dino_rl.envs.gym.make import GymConfig
from dino_rl.errors import EXIT_INTERRUPTED, EXIT_USER


def refused(result: tuple[int, str, str], *words: str):
    """Exit code 2, one line that names the thing and the remedy, no traceback."""
    code, _, err = result
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == EXIT_USER, err
    assert len(lines) == 1, err
    assert lines[0].startswith("dino-rl: ")
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_explains_every_option(name, capsys):
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([*name.split(), "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "usage:" in text
    assert "COMMAND" in text or len(text.splitlines()) > 4


def test_help_imports_nothing_heavy():
    """`--help` answers at once: neither TensorFlow nor the browser is loaded for it."""
    code = (
        "import sys; from dino_rl.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'keras', 'selenium', 'gymnasium', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


# --- Words and numbers ---------------------------------------------------------------------------------

WRONG_WORDS = {
    "no command": ((), "COMMAND"),
    "unknown command": (("frobnicate",), "frobnicate"),
    "unknown option": (("train", "--frobnicate"), "--frobnicate"),
    "unknown environment": (("train", "--env", "Nope-v0", "--steps", "5"), "Nope-v0"),
    "continuous actions": (("train", "--env", "Pendulum-v1"), "continuous"),
    "an algorithm for other observations": (("train", "--algo", "cem"), "use --algo dqn"),
    "a preset of another algorithm": (("train", "--preset", "cartpole", "--algo", "cem"), "--algo dqn"),
    "a preset of no environment": (("train", "--preset", "vectors"), "--env"),
    "a network for images": (("train", "--preset", "breakout", "--env", "CartPole-v1"), "dense"),
    "unknown preset": (("train", "--preset", "nope"), "nope"),
    "unknown algorithm": (("train", "--algo", "nope"), "nope"),
    "steps negative": (("train", "--steps", "-3"), "-3"),
    "steps zero": (("train", "--steps", "0"), "--steps"),
    "steps no number": (("train", "--steps", "many"), "many"),
    "steps a fraction": (("train", "--steps", "1.5"), "1.5"),
    "minutes zero": (("train", "--minutes", "0"), "--minutes"),
    "minutes infinite": (("train", "--minutes", "inf"), "inf"),
    "minutes no number": (("train", "--minutes", "nan"), "nan"),
    "environments zero": (("train", "--num-envs", "0"), "--num-envs"),
    "seed negative": (("train", "--seed", "-1"), "-1"),
    "games zero": (("evaluate", "--model", "x.h5", "--games", "0"), "--games"),
    "cap negative": (("evaluate", "--model", "x.h5", "--max-score", "-5"), "-5"),
    "unknown clock": (("play", "--model", "x.h5", "--clock", "sundial"), "sundial"),
    "unknown page": (("play", "--model", "x.h5", "--url", "https://example.org"), "example.org"),
    "chrome://dino in lock-step": (
        ("evaluate", "--model", "x.h5", "--clock", "lockstep", "--url", "chrome://dino"),
        "--clock live",
    ),
    "seeds of training": (("evaluate", "--model", "x.h5", "--seed", 2**31), "--seed"),
    "report of nothing": (("report",), "RUN_DIR"),
    "report of what is not there": (("report", "missing"), "missing"),
    "replay of nothing": (("replay", "missing.json"), "missing.json"),
    "unknown field": (("train", "--set", "dqn.learning_rat=1e-3"), "dqn.learning_rate"),
    "field without a value": (("train", "--set", "dqn.double"), "KEY=VALUE"),
    "field out of bounds": (("train", "--set", "dqn.discount=2"), "dqn.discount"),
    "missing configuration file": (("train", "--config", "missing.yaml"), "missing.yaml"),
    "unknown preset to print": (("presets", "dinosaur"), "dino"),
    "activation unknown": (("train", "--activation", "swoosh"), "swoosh"),
}


@pytest.mark.parametrize("case", WRONG_WORDS)
def test_wrong_words_and_numbers(case, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, word = WRONG_WORDS[case]
    refused(cli(*arguments), word)
    assert files_below(tmp_path) == {}


def numeric_options() -> dict[str, tuple[str, str]]:
    """Every option of every command that takes a number: (command, option)."""
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {
        f"{name} {action.option_strings[0]}": (name, action.option_strings[0])
        for name, parser in commands.choices.items()
        for action in parser._actions
        if callable(action.type) and action.type is not Path
    }


NO_NUMBERS = ("x", "", "nan", "inf", "1e999", "-1", "0x10")


@pytest.mark.parametrize(
    ("case", "text"),
    # A mean return may well be negative.
    [
        (c, t)
        for c in numeric_options()
        for t in NO_NUMBERS
        if not (c.endswith("--stop-return") and t == "-1")
    ],
)
def test_every_number_is_checked(case, text, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, option = numeric_options()[case]
    result = cli(name, option, text)
    refused(result, option)
    assert repr(text) in result[2] or f"choice: {text} (" in result[2]
    assert files_below(tmp_path) == {}


def test_there_are_numbers_to_check():
    assert {"train --steps", "train --minutes", "play --games", "evaluate --seed"} <= set(numeric_options())


# --- Models --------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_card(path):
    path.with_suffix(".json").unlink()


def with_card(text):
    return lambda path: path.with_suffix(".json").write_text(text)


def with_changed_card(place, value):
    def change(path):
        card = json.loads(path.with_suffix(".json").read_text())
        inner = card
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        path.with_suffix(".json").write_text(json.dumps(card))

    return change


def random_bytes_behind_the_magic(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 40)


DAMAGE = {
    "missing": (lambda path: path.unlink(), "train one"),
    "a directory": (lambda path: (path.unlink(), path.mkdir()), "not a run directory"),
    "empty": (lambda path: path.write_bytes(b""), "not a Keras .h5 model"),
    "text": (lambda path: path.write_text("hello"), "not a Keras .h5 model"),
    "cut": (cut, "damaged"),
    "random": (random_bytes_behind_the_magic, "damaged"),
    "no card": (without_card, "card"),
    "card no JSON": (with_card("{"), "not a model card"),
    "card of something else": (with_card('{"a": 1}'), "not a model card"),
    "card a list": (with_card("[]"), "not a model card"),
    "card of a newer version": (with_changed_card(["settings", "dqn", "colour"], 1), "colour"),
    "card of no actions": (with_changed_card(["num_actions"], 0), "card"),
    "card with a word for a number": (with_changed_card(["num_actions"], "three"), "card"),
    "card of no shape": (with_changed_card(["observation_shape"], []), "card"),
    "card of a shape of words": (with_changed_card(["observation_shape"], ["a", "b", "c"]), "card"),
    "card of an interval of words": (
        with_changed_card(["settings", "env", "decision_interval_frames"], "four"),
        "card",
    ),
}
STRANGE_SETTINGS = {  # cards that are whole, and ask for what is not there
    "torso": (("dqn", "network"), "resnet"),
    "reward": (("env",), "gold"),
    "id": (("env",), "Nope-v0"),
    "decision_interval_frames": (("env",), -4),
    "stack_size": (("env",), 0),
    "num_actions": (("env",), 7),
}


@pytest.mark.parametrize("name", ["evaluate", "play"])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_model_that_is_none(case, name, cli, model_file, tmp_path):
    path = tmp_path / "model.h5"
    shutil.copy(model_file, path)
    shutil.copy(model_file.with_suffix(".json"), path.with_suffix(".json"))
    damage, word = DAMAGE[case]
    damage(path)
    before = files_below(tmp_path)
    refused(cli(name, "--model", path, "--games", 1), str(path.with_suffix("")), word)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["evaluate", "play"])
@pytest.mark.parametrize("setting", STRANGE_SETTINGS)
def test_a_card_that_asks_for_what_is_not_there(setting, name, cli, model_file, tmp_path):
    path = tmp_path / "model.h5"
    shutil.copy(model_file, path)
    shutil.copy(model_file.with_suffix(".json"), path.with_suffix(".json"))
    place, value = STRANGE_SETTINGS[setting]
    with_changed_card(["settings", *place, setting], value)(path)
    refused(cli(name, "--model", path, "--games", 1), "card", value if setting == "id" else setting)


def test_a_model_of_other_weights_than_its_card(cli, model_file, tmp_path):
    path = write_model(tmp_path / "other.h5", torso="nature")
    shutil.copy(model_file.with_suffix(".json"), path.with_suffix(".json"))
    refused(cli("evaluate", "--model", path, "--games", 1), "other.h5")


@pytest.mark.browser
def test_a_model_for_other_observations(cli, tmp_path):
    """Its card says four frames; its network takes two."""
    path = write_model(tmp_path / "two.h5", shape=(80, 80, 2))
    refused(cli("evaluate", "--model", path, "--games", 1), "two.h5", "(80, 80, 2)", "(80, 80, 4)")


def test_a_model_for_another_environment(cli, model_file):
    refused(cli("evaluate", "--model", model_file, "--env", "CartPole-v1"), "CartPole-v1")


@pytest.fixture(scope="module")
def cartpole_model(tmp_path_factory) -> Path:
    """An untrained model that balances a pole."""
    path = tmp_path_factory.mktemp("model") / "pole.h5"
    return write_model(path, (4,), 2, "dense", np.float32, GymConfig("CartPole-v1"))


DINO_ONLY = {
    "evaluate": (
        *(("--clock", "lockstep"), ("--clock", "live"), ("--constant-speed",), ("--max-score", 100)),
        ("--save-replays", "games"),
    ),
    "play": (("--clock", "live"), ("--max-score", 5), ("--overlay",)),
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in DINO_ONLY.items() for option in options]
)
def test_what_only_the_dino_knows(name, option, cli, cartpole_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(cli(name, "--model", cartpole_model, "--games", 1, *option), option[0], "CartPole-v1")
    assert files_below(tmp_path) == {}


def test_a_model_is_compared_with_random_play(cli, cartpole_model, tmp_path):
    path = tmp_path / "e.json"
    arguments = ("--games", 12, "--num-envs", 4, "--against-random", "--json", path)
    code, out, err = cli("evaluate", "--model", cartpole_model, *arguments)
    assert (code, err) == (0, "")
    result = json.loads(path.read_text())
    assert result["env"] == "CartPole-v1"
    assert result["seeds"] == result["random"]["seeds"] == list(range(12))
    assert result["random"]["scores"] != result["scores"]
    for one in (result, result["random"]):
        low, high = one["confidence"]
        assert min(one["scores"]) <= low <= one["mean"] <= high <= max(one["scores"])
    assert "random play" in out
    assert not {"deaths", "clock", "browser", "max_score"} & result.keys()


def test_a_stranger_s_lambda_is_refused_and_never_run(cli, model_file, tmp_path):
    from dino_rl.backend import keras

    marker = tmp_path / "it-ran"
    path = tmp_path / "evil.h5"
    inputs = keras.Input((80, 80, 4))
    run_code = keras.layers.Lambda(
        lambda x, where=str(marker): (__import__("pathlib").Path(where).write_text("!"), x)[1],
        output_shape=(80, 80, 4),
    )
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(run_code(inputs)))
    keras.Model(inputs, outputs).save(path, include_optimizer=False)
    marker.unlink(missing_ok=True)  # building the model ran it once, here
    shutil.copy(model_file.with_suffix(".json"), path.with_suffix(".json"))
    # Only weights are read, into the network that the card describes.
    refused(cli("evaluate", "--model", path, "--games", 1), "evil.h5", "does not match its card")
    assert not marker.exists()


# --- Places --------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_run_directory_that_cannot_be_written(cli, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    refused(cli("train", "--steps", 50, "--run-dir", tmp_path / "file" / "run"), str(tmp_path / "file"))
    assert files_below(tmp_path) == {"file": b"not a directory"}


def test_a_run_directory_that_holds_a_run(cli, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    refused(cli("train", "--steps", 50, "--run-dir", tmp_path), "--resume")
    assert files_below(tmp_path) == {"run.json": b"{}"}


@pytest.mark.parametrize("text", [None, "", "[]", '{"settings": {"no": 1}}'])
def test_resuming_what_is_no_run(text, cli, tmp_path):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    before = files_below(tmp_path)
    refused(cli("train", "--resume", tmp_path), str(tmp_path), "not a run directory")
    assert files_below(tmp_path) == before


def test_drawing_what_is_no_run(cli, tmp_path):
    refused(cli("plot", tmp_path), str(tmp_path))
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("option", ["--json", "--save-replays"])
def test_a_result_that_cannot_be_written(option, cli, model_file, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    refused(cli("evaluate", "--model", model_file, option, tmp_path / "file" / "x"), "file")


@pytest.mark.parametrize("name", ["video.avi", "file/video.mp4"])
def test_a_video_that_cannot_be_written(name, cli, model_file, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    refused(cli("play", "--model", model_file, "--record", tmp_path / name), "video")


def test_a_kept_game_that_is_none(cli, tmp_path):
    for text in ("", "[]", "{}", json.dumps({"format": "dino-rl game 1", "actions": "?"})):
        path = tmp_path / "game.json"
        path.write_text(text)
        refused(cli("replay", path), "game.json")


OUTPUTS = {  # what each command writes: nothing may come of it, and nothing be lost, when its input is wrong
    "evaluate --json": ("evaluate", "--json", "out/e.json"),
    "evaluate --save-replays": ("evaluate", "--save-replays", "out/games"),
    "play --record": ("play", "--record", "out/video.mp4"),
}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("wrong", ["model", "browser"])
@pytest.mark.parametrize("case", OUTPUTS)
def test_nothing_is_written_or_lost(case, wrong, existing, cli, model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, option, output = OUTPUTS[case]
    if existing:
        (tmp_path / output).parent.mkdir()
        (tmp_path / output).write_text("what was there") if "." in output else (tmp_path / output).mkdir()
    if wrong == "browser":
        monkeypatch.setenv("CHROME_BINARY", str(tmp_path / "nothing"))
    before = files_below(tmp_path)
    model = model_file if wrong == "browser" else tmp_path / "missing.h5"
    refused(cli(name, "--model", model, option, output))
    assert files_below(tmp_path) == before


# --- Browser, driver, display, network -----------------------------------------------------------------

EVALUATE = ("evaluate", "--games", 1, "--max-score", 20, "--model")


def test_no_browser(cli, model_file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(cli(*EVALUATE, model_file), "No Chrome or Chromium", "install")


@pytest.mark.parametrize("name", ["CHROME_BINARY", "SE_CHROMEDRIVER"])
def test_a_program_named_wrongly(name, cli, model_file, tmp_path, monkeypatch):
    monkeypatch.setenv(name, str(tmp_path / "nothing"))
    refused(cli(*EVALUATE, model_file), name)


def test_no_driver_and_a_network_that_swallows_everything(cli, model_file, tmp_path, monkeypatch):
    """A proxy that takes connections and never answers: the download is given up."""
    monkeypatch.setattr(chrome, "DOWNLOAD_TIMEOUT_S", 3)
    monkeypatch.setenv("CHROME_BINARY", chrome.find_browser())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as hole:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{hole.getsockname()[1]}")
        refused(cli(*EVALUATE, model_file), "No chromedriver", "install")


@pytest.mark.browser
def test_a_driver_of_another_version(cli, model_file, tmp_path, monkeypatch, no_new_browsers):
    """The one stand-in of the suite: no second version of the driver is at hand."""
    driver = tmp_path / "chromedriver"
    driver.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "ChromeDriver 99.0.1" && exit 0\nexit 1\n')
    driver.chmod(driver.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("SE_CHROMEDRIVER", str(driver))
    refused(cli(*EVALUATE, model_file), "99.0.1", "do not match")


@pytest.mark.browser
def test_a_display_that_is_not_there(cli, model_file, monkeypatch, no_new_browsers):
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    refused(cli("play", "--model", model_file, "--games", 1), "DISPLAY", "--headless")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["CHROME_BINARY", "SE_CHROMEDRIVER"])
@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_a_program_that_is_no_browser_or_driver(
    name, mode, cli, model_file, tmp_path, monkeypatch, no_new_browsers
):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(mode)
    monkeypatch.setenv(name, str(program))
    refused(cli(*EVALUATE, model_file), str(program))


# --- Ends from outside ---------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_evaluation_and_its_browser(number, model_file, no_new_browsers):
    before = {process.pid for process in browser_processes()}
    process = command("evaluate", "--model", model_file, "--games", 10**6, "--num-envs", 2)
    wait_for(lambda: bool({process.pid for process in browser_processes()} - before), process)
    time.sleep(1.0)  # somewhere between the start of the browser and the first games
    process.send_signal(number)
    code, _, err = finish(process, timeout_s=30)
    assert code == EXIT_INTERRUPTED
    assert err.strip().splitlines() == ["Interrupted."]


def test_a_reader_that_goes_away_is_no_error():
    """`run_dino.py train --help | head -1`"""
    process = command("train", "--help")
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr.read() == ""


def test_an_error_is_one_line_whatever_was_typed(cli):
    code, _, error = cli("train", "--seed", "1", "a\nb\u2028c")
    assert code == 2
    assert error.splitlines() == [error.rstrip("\n")]
    assert "a b c" in error
