"""The exported player: equal to Keras, equal frames, and it plays on untouched chrome://dino."""

import base64
import http.client
import itertools
import json
import re
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, command, finish, write_model
from test_cli import refused

from dino_rl.agents.networks import TORSOS
from dino_rl.browser.chrome import Browser
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.in_page import PlayerPage
from dino_rl.envs.gym.make import GymConfig
from dino_rl.export.javascript import ACTIVATIONS, player_js
from dino_rl.player import KerasPlayer, load_player

MODEL = ROOT / "models" / "best.h5"
FRAME = (80, 80)


@pytest.fixture(scope="module")
def shipped() -> KerasPlayer:
    return load_player(MODEL)


@pytest.fixture(scope="module")
def source() -> str:
    """The shipped file."""
    return (ROOT / "models" / "player.js").read_text(encoding="utf-8")


# --- The network ------------------------------------------------------------------------------------------

# Loaded into a page whose frames do not run by themselves; the player is stopped, and only computes.
COMPUTE = """
    const all = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
    const { stack } = dinoPlayer.model;
    const values = [];
    for (let at = 0; at < all.length; at += 6400 * stack) {
      const frame = (_, c) => all.subarray(at + 6400 * c, at + 6400 * (c + 1));
      const frames = Array.from({ length: stack }, frame);
      values.push(Array.from(dinoPlayer.values(frames)));
    }
    return values;"""


def load(game, source: str):
    game.browser.script(source)
    game.browser.script("dinoPlayer.stop()")


def values_in_page(game, observations: np.ndarray) -> np.ndarray:
    """uint8 [B, 80, 80, stack] -> float [B, A], by the player that is loaded."""
    values: list = []
    for part in np.array_split(observations.transpose(0, 3, 1, 2), -(-len(observations) // 50)):
        values += game.browser.script(COMPUTE, base64.b64encode(part.tobytes()).decode())
    return np.array(values)


@pytest.fixture(scope="module")
def real_observations(shipped) -> np.ndarray:
    """1,000 observations of varied training games, played well but for some careless keys."""
    from dino_rl.envs.dino.env import DinoVectorEnv

    rng = np.random.default_rng(0)
    seen = []
    options = {"decision_interval_frames": 2, "stack_stride": 2}
    with_variation = shipped.config.env.variation
    env = DinoVectorEnv(10, game=with_variation, **options)
    try:
        observations, _ = env.reset(seed=1)
        for step in range(700):
            actions = shipped.act(observations)
            careless = rng.random(10) < 0.03
            observations, *_ = env.step(np.where(careless, rng.integers(0, 3, 10), actions))
            if step % 7 == 6:
                seen.append(observations.copy())
    finally:
        env.close()
    return np.concatenate(seen)


@pytest.mark.browser
@pytest.mark.parametrize(("bits", "tolerance"), [(16, 1e-3), (32, 1e-4)])
def test_values_and_actions_are_those_of_keras(bits, tolerance, game, shipped, real_observations):
    assert real_observations.shape == (1000, 80, 80, 4)
    load(game, player_js(shipped, bits))
    ours, keras = values_in_page(game, real_observations), shipped.values(real_observations)
    assert np.ptp(keras) > 0.3  # crashes and safe moments
    assert np.bincount(keras.argmax(axis=1), minlength=3).min() >= 10  # all actions
    assert np.abs(ours - keras).max() < tolerance
    first, second = np.sort(keras)[:, -1], np.sort(keras)[:, -2]
    is_tie = first - second < 2 * tolerance
    assert is_tie.mean() < 0.5
    np.testing.assert_array_equal(ours.argmax(axis=1)[~is_tie], keras.argmax(axis=1)[~is_tie])


def other_model(
    path: Path, torso: str, activation: str = "relu", dueling: bool = True, input_range=(0.0, 1.0)
) -> KerasPlayer:
    """An untrained model with other layers, whose values differ between observations."""
    from dino_rl.player import build_network
    from dino_rl.runs.model_file import load_card, save_model
    from dino_rl.train_config import from_saved, to_data

    card = load_card(write_model(path))
    config = from_saved(card["settings"])
    network_config = replace(
        config.dqn.network,
        torso=torso,
        activation=activation,
        dueling=dueling,
        input_range=input_range,
    )
    config = replace(config, dqn=replace(config.dqn, network=network_config))
    network = build_network(config, (80, 80, 4), 3)
    rng = np.random.default_rng(5)
    network.set_weights([rng.normal(0, 0.06, weight.shape) for weight in network.get_weights()])
    save_model(path, network, card | {"settings": json.loads(json.dumps(to_data(config)))})
    return load_player(path)


CASES = [
    *((torso, "relu", dueling) for torso in TORSOS if torso != "dense" for dueling in (True, False)),
    *(("compact", activation, True) for activation in ACTIVATIONS if activation not in ("relu", "linear")),
    ("wide", "relu", True, (4.0, 0.0)),
    ("tutorial", "relu", True, (-1.0, 1.0)),
]


@pytest.mark.browser
@pytest.mark.parametrize("layers", CASES)
def test_other_networks_are_computed_as_keras_does(layers, game, tmp_path):
    player = other_model(tmp_path / "m.h5", *layers)
    observations = np.random.default_rng(1).integers(0, 256, (4, 80, 80, 4), dtype=np.uint8)
    observations[:2] = np.maximum(observations[:2], 255 * (observations[:2] > 30))  # mostly white
    load(game, player_js(player, 32))
    expected = player.values(observations)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(values_in_page(game, observations), expected, rtol=1e-4, atol=1e-5)


def test_the_shipped_file_is_the_shipped_model(shipped, source, cli, tmp_path):
    """If this fails: python run_dino.py export --model models/best.h5 --to models/player.js"""
    assert player_js(shipped) == source
    assert len(source.encode()) < 2e6
    path = tmp_path / "player.js"
    code, out, err = cli("export", "--model", MODEL, "--to", path)
    assert (code, err) == (0, "")
    assert "chrome://dino" in out
    assert path.read_text(encoding="utf-8") == source


def test_the_file_needs_nothing_else(source):
    """No network, no eval, no WebAssembly, and of the game's variables two, for the panel."""
    code = re.sub(r"`[A-Za-z0-9+/=\s]{1000,}`", "``", source)
    assert len(code) < 30_000
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|eval|Function|WebAssembly|Worker|import)\b *\(", code
    )
    assert not re.search(r"https?://", code)
    game_reads = [line for line in code.splitlines() if "Runner" in line]
    assert len(game_reads) == 1
    assert "distanceRan, crashed" in game_reads[0]


# --- The frame --------------------------------------------------------------------------------------------

STEP_AND_COMPARE = """
    DinoBridge.step(arguments[0], 2);
    window.dinoCamera ??= dinoPlayer.makeCamera();
    const lockstep = new Uint8Array(DinoAgentFrame.BYTES);
    DinoBridge.agentFrame(lockstep, 0);
    const frame = dinoCamera(DinoBridge.canvas());
    const text = (array) => btoa(String.fromCharCode.apply(null, array));
    const { crashed, horizon } = DinoBridge.runner();
    return { lockstep: text(lockstep), frame: text(frame), crashed, opacity: horizon.nightMode.opacity };
"""


def decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(FRAME).astype(int)


@pytest.mark.browser
def test_frames_are_those_of_the_lockstep_environment(game, source):
    """Byte for byte. While the moon fades in and out, the browser rounds its transparency to eight bits."""
    load(game, source)
    equal, fading, frames = 0, 0, []
    for seed in range(8):
        settings = GameSettings(start_speed=6.0 + seed, clear_time_ms=500.0, dino_x=4 * seed, night_every=15)
        game.restart(seed, settings)
        rng = np.random.default_rng(seed)
        for _ in range(400):
            action = int(rng.choice(3, p=(0.8, 0.15, 0.05)))
            answer = game.browser.script(STEP_AND_COMPARE, action)
            ours, theirs = decode(answer["frame"]), decode(answer["lockstep"])
            if answer["opacity"] in (0, 1):
                np.testing.assert_array_equal(ours, theirs)
                equal += 1
            else:
                assert np.abs(ours - theirs).max() <= 1
                fading += 1
            frames.append(ours)
            if answer["crashed"]:
                break
    assert equal > 200
    assert len({frame.tobytes() for frame in frames}) > 0.9 * len(frames)


# --- Other displays, simulated ----------------------------------------------------------------------------

ACTIVE = "Runner.getInstance().activated && !Runner.getInstance().playingIntro"


def finish_intro(page: PlayerPage):
    """The intro is a CSS animation in real time: simulate no faster than that."""
    for _ in range(600):
        if page.evaluate(ACTIVE):
            return
        page.simulate(2)
        time.sleep(0.03)
    pytest.fail("the player started no game")


def play_until(page: PlayerPage, score: int, seconds: float) -> dict:
    """The state when the game reached a score, crashed, or lasted for this long in the page's time."""
    ended = f"Runner.getInstance().crashed || Runner.getInstance().distanceRan * 0.025 >= {score}"
    left = int(seconds * page.hz)
    while left > 0:
        page.simulate(min(left, 1000), until=ended)
        left -= 1000
        state = page.state()
        if state["crashed"] or state["score"] >= score:
            return state
    return page.state()


DISPLAYS = {
    "60 Hz": {},
    "59.94 Hz": {"simulated_hz": 59.94},
    "120 Hz": {"simulated_hz": 120},
    "144 Hz": {"simulated_hz": 144},
    "240 Hz": {"simulated_hz": 240},
    "pixel ratio 1.5": {"pixel_ratio": 1.5},
    "pixel ratio 2": {"pixel_ratio": 2},
    "pixel ratio 3": {"pixel_ratio": 3},
    "dark": {"dark": True},
    "narrow": {"size": (640, 600)},
}


@pytest.mark.browser
@pytest.mark.parametrize("display", DISPLAYS)
def test_it_plays_on_any_display(display, source, no_new_browsers):
    """Now and then a game ends early where frames come at other times than in training."""
    options = {"simulated_hz": 60, **DISPLAYS[display]}
    reached = 0
    for seed in range(3):
        with PlayerPage(**options, seed=seed) as page:
            page.evaluate(source)
            finish_intro(page)
            page.evaluate("dinoPlayer.takeMeasurements()")
            before = page.evaluate("simulatedTime.now")
            decisions = page.evaluate("dinoPlayer.takeMeasurements().decisions")
            state = play_until(page, 300, 60)
            reached += not state["crashed"] and state["score"] >= 300
            passed = page.evaluate("simulatedTime.now") - before
            decided = page.evaluate("dinoPlayer.takeMeasurements().decisions") - decisions
            assert passed / decided == pytest.approx(1000 / 30, rel=0.05)
        if reached == 2:
            return
    pytest.fail(f"{reached} of 3 games reached 300")


GROUND_ROW = 69


def frames_at(display: dict, count: int) -> np.ndarray:
    """Frames of one game without keys, int [count, 80, 80]: its first seconds, which need none."""
    with PlayerPage(**{"simulated_hz": 60, "seed": 3, **display}) as page:
        page.evaluate((ROOT / "models" / "player.js").read_text(encoding="utf-8"))
        page.evaluate("dinoPlayer.stop(); window.camera = dinoPlayer.makeCamera()")
        page.evaluate(
            "for (const type of ['keydown', 'keyup'])"
            " document.dispatchEvent(new KeyboardEvent(type, { keyCode: 38 }))"
        )
        page.simulate(100, until="Runner.getInstance().playingIntro")
        time.sleep(1.0)  # the intro is an animation in real time
        assert page.evaluate(ACTIVE)
        frames = []
        for _ in range(count):
            page.simulate(6)
            frames.append(
                decode(
                    page.evaluate(
                        "btoa(String.fromCharCode(...camera(document.querySelector('canvas.runner-canvas'))))"
                    )
                )
            )
        return np.array(frames)


@pytest.mark.browser
def test_other_displays_show_the_same_frames(no_new_browsers):
    reference = frames_at({}, 40)
    assert len({frame.tobytes() for frame in reference}) > 30
    assert reference.min() < 200
    for ratio in (1.5, 2, 3):
        frames = frames_at({"pixel_ratio": ratio}, 40)
        above = np.abs(frames - reference)[:, : GROUND_ROW - 2]
        assert above.mean() < 0.3
        assert (above > 40).mean() < 0.002
        darkest = frames.mean(
            axis=(0, 2)
        ).argmin()  # its sprites for such displays have the ground 1 px higher
        assert darkest in (GROUND_ROW - 1, GROUND_ROW)
    narrow = frames_at({"size": (640, 600)}, 40)
    seen = 80 * 512 // 600
    np.testing.assert_array_equal(narrow[..., seen + 1 :], 255)
    assert (narrow[..., :seen] < 255).any()


# --- Playing ----------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_it_plays_by_pixels_only(source, no_new_browsers):
    """Without the game's variables, which only its panel reads."""
    with PlayerPage(simulated_hz=60) as page:
        page.evaluate(
            "window.realRunner = Runner.getInstance(); Runner.getInstance = () => { throw new Error(); }"
        )
        page.evaluate(source)
        for _ in range(60):
            page.simulate(2)
            time.sleep(0.03)
        assert page.evaluate("dinoPlayer.status().score") is None
        page.simulate(1500, until="realRunner.crashed")
        assert page.evaluate("realRunner.distanceRan * 0.025") > 200
        assert not page.evaluate("realRunner.crashed")


@pytest.mark.browser
def test_it_starts_the_next_game(source, no_new_browsers):
    with PlayerPage(simulated_hz=60) as page:
        page.evaluate(source)
        finish_intro(page)
        for number in (1, 2):
            page.simulate(300)
            score = page.state()["score"]
            assert score > 20
            page.evaluate("Runner.getInstance().gameOver()")
            page.simulate(60)
            assert page.state()["crashed"]  # the end of a game can be seen for a moment
            page.simulate(120, until="!Runner.getInstance().crashed")
            assert not page.state()["crashed"]
            scores = page.evaluate("dinoPlayer.takeMeasurements().scores")
            assert len(scores) == number
            assert scores[-1] == pytest.approx(score, abs=1)


@pytest.mark.browser
def test_it_plays_on_the_untouched_page_in_real_time(source, no_new_browsers):
    with PlayerPage() as page:
        page.evaluate(source)
        deadline = time.monotonic() + 40
        while page.state()["score"] < 150 and time.monotonic() < deadline:
            time.sleep(0.5)
            assert not page.state()["crashed"]
        assert page.state()["score"] >= 150
        measured = page.evaluate("dinoPlayer.takeMeasurements()")
        assert np.median(measured["decision_ms"]) < 16
        assert len(measured["frame_times"]) > 500
        panel = "[...document.body.children].filter((e) => e.tagName === 'CANVAS').length"
        assert page.evaluate(panel) == 1
        page.press_escape()
        time.sleep(0.2)
        assert page.evaluate(panel) == 0
        before = page.evaluate("dinoPlayer.takeMeasurements().decisions")
        time.sleep(0.5)
        assert page.evaluate("dinoPlayer.takeMeasurements().decisions") == before


@pytest.mark.browser
def test_pasted_twice_there_is_one_player(source, no_new_browsers):
    with PlayerPage(simulated_hz=60) as page:
        page.evaluate("window.lines = []; console.log = (line) => lines.push(line)")
        page.evaluate(source)
        page.evaluate("window.first = dinoPlayer, 0")
        page.evaluate(source)
        page.simulate(20)
        assert page.evaluate("first !== dinoPlayer && first.takeMeasurements().decisions") == 0
        assert page.evaluate("dinoPlayer.takeMeasurements().decisions") > 5
        stopped, plays = page.evaluate("lines")
        assert "stopped" in stopped
        assert "best.h5 plays" in plays
        assert "dinoPlayer.stop()" in plays


@pytest.mark.browser
def test_it_is_a_module(shipped, game, cli, tmp_path):
    path = tmp_path / "player.mjs"
    assert cli("export", "--model", MODEL, "--to", path)[0] == 0
    text = path.read_text(encoding="utf-8")
    assert text == player_js(shipped, module=True)
    imported = game.browser.resolve(
        "import(URL.createObjectURL(new Blob([arguments[0]], { type: 'text/javascript' })))"
        ".then((module) => { module.default.stop(); return module.default === dinoPlayer; })",
        text,
    )
    assert imported is True


@pytest.mark.browser
def test_play_in_page(cli, no_new_browsers):
    """As live games are played if nothing else is said."""
    arguments = ("--headless", "--games", 2, "--max-score", 30)
    code, out, err = cli("play", "--model", MODEL, *arguments)
    assert (code, err) == (0, "")
    assert len(re.findall(r"stopped at 3\d", out)) == 2


@pytest.mark.browser
def test_evaluate_in_page(cli, tmp_path, no_new_browsers):
    path = tmp_path / "e.json"
    arguments = ("--clock", "live", "--in-page", "--url", "chrome://dino", "--games", 2, "--max-score", 30)
    code, _, err = cli("evaluate", "--model", MODEL, *arguments, "--json", path)
    assert (code, err) == (0, "")
    result = json.loads(path.read_text())
    assert result["capped"] == 2
    assert all(30 <= score < 45 for score in result["scores"])
    assert result["timing"]["decisions"] > 100
    assert result["timing"]["frames_per_second"] > 20


@pytest.mark.browser
@pytest.mark.parametrize("name", ["play", "evaluate"])
def test_a_live_game_of_what_cannot_be_exported(name, cli, tmp_path, no_new_browsers):
    other_model(tmp_path / "m.h5", "compact", "gelu")
    arguments = ("--model", tmp_path / "m.h5", "--clock", "live", "--games", 1, "--max-score", 30)
    code, _, err = cli(name, *arguments, *(("--headless",) if name == "play" else ()))
    assert (code, err) == (0, "")
    refused(cli(name, *arguments, "--in-page"), "gelu")


# --- What cannot be exported ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cartpole") / "m.h5"
    return write_model(path, (4,), 2, "dense", np.float32, GymConfig("CartPole-v1"))


def test_player_js_is_for_the_dino(cli, cartpole, tmp_path):
    refused(cli("export", "--model", cartpole, "--to", tmp_path / "p.js"), "CartPole-v1", "Dino")
    assert list(tmp_path.iterdir()) == []


def test_an_activation_that_the_file_does_not_have(cli, tmp_path):
    other_model(tmp_path / "m.h5", "compact", "gelu")
    refused(cli("export", "--model", tmp_path / "m.h5", "--to", tmp_path / "p.js"), "gelu")
    assert not (tmp_path / "p.js").exists()


def test_an_unknown_kind_of_file(cli, tmp_path):
    refused(cli("export", "--model", MODEL, "--to", tmp_path / "player.exe"), "player.exe", ".onnx")


@pytest.mark.parametrize("name", ["play", "evaluate"])
def test_only_the_dino_is_played_in_a_page(name, cli, cartpole):
    refused(cli(name, "--model", cartpole, "--in-page", "--games", 1), "--in-page", "CartPole-v1")


def test_in_page_is_live(cli):
    refused(cli("evaluate", "--model", MODEL, "--in-page", "--games", 1), "--in-page", "--clock live")


# --- ONNX -------------------------------------------------------------------------------------------------


def onnx_values(path: Path, observations: np.ndarray) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(path.parent))  # it writes a file there when it is imported
        runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (values,) = session.run(["values"], {"observation": observations})
    return values


ONNX_ACTIVATIONS = ("relu", "tanh", "elu", "gelu", "silu", "selu", "leaky_relu", "sigmoid")


@pytest.mark.parametrize(
    "layers",
    [
        *itertools.product(("compact", "nature", "wide", "tutorial"), ("relu",), (True, False)),
        *(("compact", activation, True) for activation in ONNX_ACTIVATIONS[1:]),
        ("wide", "relu", True, (4.0, 0.0)),
    ],
)
def test_onnx_gives_the_values_of_keras(layers, cli, tmp_path):
    pytest.importorskip("onnx")
    player = other_model(tmp_path / "m.h5", *layers)
    code, _, err = cli("export", "--model", tmp_path / "m.h5", "--to", tmp_path / "m.onnx")
    assert (code, err) == (0, "")
    observations = np.random.default_rng(1).integers(0, 256, (5, 80, 80, 4), dtype=np.uint8)
    expected = player.values(observations)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(onnx_values(tmp_path / "m.onnx", observations), expected, rtol=1e-4, atol=1e-5)


def test_onnx_of_the_shipped_model(shipped, cli, tmp_path):
    pytest.importorskip("onnx")
    assert cli("export", "--model", MODEL, "--to", tmp_path / "m.onnx")[0] == 0
    observations = np.random.default_rng(1).integers(0, 256, (20, 80, 80, 4), dtype=np.uint8)
    found = onnx_values(tmp_path / "m.onnx", observations)
    np.testing.assert_allclose(found, shipped.values(observations), atol=1e-4)


def test_onnx_of_networks_for_vectors(cartpole, cli, tmp_path):
    pytest.importorskip("onnx")
    assert cli("export", "--model", cartpole, "--to", tmp_path / "m.onnx")[0] == 0
    observations = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    expected = load_player(cartpole).values(observations)
    np.testing.assert_allclose(onnx_values(tmp_path / "m.onnx", observations), expected, atol=1e-4)


def test_onnx_without_its_package(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(cli("export", "--model", MODEL, "--to", tmp_path / "m.onnx"), "onnx", "install")
    assert list(tmp_path.iterdir()) == []


# --- A page of our own ------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def printed(process) -> str:
    """What a serving command prints until it serves."""
    lines = ""
    while "Ctrl-C" not in lines:
        line = process.stdout.readline()
        assert line, finish(process)
        lines += line
    return lines


def printed_url(text: str) -> str:
    return re.findall(r"http://\S+", text)[-1]


@pytest.mark.browser
def test_serve(no_new_browsers):
    port = free_port()
    process = command("serve", "--model", MODEL, "--port", port)
    try:
        text = printed(process)
        url = printed_url(text)
        assert "Warning" not in text
        token = re.fullmatch(rf"http://127\.0\.0\.1:{port}/([\w-]{{16}})/", url)[1]
        with Browser() as browser:
            browser.open(url)
            deadline = time.monotonic() + 40
            score = "return window.dinoPlayer?.status().score ?? 0"
            while browser.script(score) < 60 and time.monotonic() < deadline:
                time.sleep(0.5)
            assert browser.script(score) >= 60
        assert request(port, f"127.0.0.1:{port}", f"/{token}/game/bridge.js") == 200
        assert request(port, f"127.0.0.1:{port}", "/game/bridge.js") == 404
        assert request(port, "evil.example", f"/{token}/player.js") == 403
        assert {address for address, _ in listening(process)} == {"127.0.0.1"}
    finally:
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert (code, err) == (0, "")


@pytest.mark.browser
def test_serve_to_the_network_warns(no_new_browsers):
    process = command("serve", "--model", MODEL, "--port", free_port(), "--lan")
    try:
        assert "Warning: everyone in your network" in printed(process)
        assert {address for address, _ in listening(process)} == {"0.0.0.0"}
    finally:
        process.send_signal(signal.SIGINT)
        code, _, _ = finish(process)
    assert code == 0


def request(port: int, host: str, path: str) -> int:
    """The status of a page that is asked for under this name of the host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def listening(process) -> list[tuple[str, int]]:
    connections = psutil.Process(process.pid).net_connections("tcp4")
    return [tuple(one.laddr) for one in connections if one.status == psutil.CONN_LISTEN]


@pytest.mark.browser
def test_serve_on_a_port_that_is_taken(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(cli("serve", "--model", MODEL, "--port", port), str(port), "--port")
