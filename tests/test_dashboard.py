"""The dashboard: what is on it, who may see it, and that it never slows a run."""

import contextlib
import http.client
import json
import logging
import re
import signal
import socket
import struct
import sys
import threading
import time
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from conftest import command, finish
from selenium.webdriver.common.keys import Keys
from test_train import changed
from tiny_run import TINY_IDLE
from websocket import WebSocket, WebSocketBadStatusException, create_connection

from dino_rl.browser.chrome import Browser
from dino_rl.dashboard import board as boards
from dino_rl.dashboard.about import about_training
from dino_rl.dashboard.board import Board, plain
from dino_rl.dashboard.server import MAX_VIEWERS, DashboardServer
from dino_rl.dashboard.show_run import ShowRun
from dino_rl.dashboard.viewer import Viewer, last_games, packed
from dino_rl.dashboard.watched import Tally, Watched
from dino_rl.envs.registry import make_task
from dino_rl.envs.task import Pictures
from dino_rl.errors import DinoError
from dino_rl.experiment import make_run
from dino_rl.recipe import choose
from dino_rl.runs.output import write_json
from dino_rl.train_config import to_data
from dino_rl.training.rollout import Episode

GAMES = TINY_IDLE.env.num_envs
WAIT_S = 30.0


class FakeTask:
    """Pictures at once, and a count of how often they were asked for."""

    def __init__(self, pictures: Pictures = Pictures()):
        self.asked = 0
        self._pictures = pictures

    def pictures(self, env):
        self.asked += 1
        return self._pictures

    def describe_end(self, infos, i):
        return {"obstacle": "bird at height 50", "doing": "jumping", "speed": f"{int(infos['speed'][i])}"}


def unpacked(message: bytes) -> tuple[dict, dict[str, bytes]]:
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    blobs = {
        name: message[4 + length + at : 4 + length + at + size]
        for name, (at, size) in header["blobs"].items()
    }
    return header, blobs


@pytest.fixture
def board():
    """Of a run that the test feeds."""
    task = make_task(TINY_IDLE.env)
    about = about_training(TINY_IDLE, task, Path("runs/one"), "train </script> it")
    return Board(about, FakeTask(), lambda observations: np.zeros((len(observations), 3), np.float32))


@pytest.fixture
def server(board):
    with contextlib.closing(DashboardServer(board)) as server:
        yield server


def observations(value: int = 255, games: int = GAMES) -> np.ndarray:
    return np.full((games, 80, 80, 4), value, np.uint8)


def show(board: Board, value: int = 255, source: int = 0, **infos) -> None:
    """One step of an environment, every value of which is `value`."""
    actions, greedy = np.full(GAMES, 1), np.array([False] * (GAMES - 1) + [True])
    values = np.tile(np.float32([0.1, 0.5, 0.2]), (GAMES, 1))
    board.show(source, None, observations(value), actions, greedy, infos, values)


# --- The board and what a viewer is sent -----------------------------------------------------------------


def test_without_a_viewer_nothing_is_done(board):
    show(board)
    assert board.task.asked == 0
    assert board.moments == {}


def test_pictures_come_at_the_rate_that_the_viewers_want(board, monkeypatch):
    now = 100.0
    monkeypatch.setattr(boards.time, "monotonic", lambda: now)
    board.fps = 8.0
    for _ in range(5):
        show(board)
    assert board.task.asked == 1
    now += 0.125
    show(board, 7)
    assert board.task.asked == 2
    number, moment = board.moments[0]
    assert (number, moment.observations.max()) == (2, 7)


def test_a_viewer_that_leaves_meanwhile_ends_no_run(board, monkeypatch):
    board.fps = 8.0

    def leave(env):
        board.fps = 0.0
        return Pictures()

    monkeypatch.setattr(board.task, "pictures", leave)
    show(board)
    assert board.fps == 0.0


def test_what_is_kept_is_bounded(board, monkeypatch):
    monkeypatch.setattr(boards, "MAX_ROWS", 10)
    monkeypatch.setattr(boards, "MAX_ENDS", 3)
    for i in range(100):
        board.add("intervals", {"step": i})
        board.count_ends([{"obstacle": str(i % 6)}])
    version, count, rows = board.rows_after("intervals", 0, 0)
    assert version > 0
    assert count == len(rows) <= 10
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] >= 96
    assert len(board.ends()) == 3
    assert board.ended == sum(end["games"] for end in board.ends())


def test_a_viewer_is_sent_each_row_once(board):
    viewer = Viewer()
    board.add("validations", {"mean": 1.0}, {"mean": float("nan")})
    header, _ = unpacked(viewer.news(board, {}))
    assert header["tables"] == {"validations": {"all": True, "rows": [{"mean": 1.0}, {"mean": None}]}}
    assert viewer.news(board, {}) is None
    board.add("validations", {"mean": np.float32(2.5)})
    header, _ = unpacked(viewer.news(board, {}))
    assert header["tables"] == {"validations": {"all": False, "rows": [{"mean": 2.5}]}}


def test_a_viewer_that_was_away_gets_the_newest_picture_only(board):
    board.fps = 1e9
    viewer = Viewer()
    for value in range(5):
        show(board, value, score=np.array([3, 4, 5]), speed=np.full(3, 6.5), night=np.array([0.0, 1.0, 0.0]))
    header, blobs = unpacked(viewer.news(board, {}))
    assert viewer.news(board, {}) is None
    assert set(blobs["frames"]) == {4}
    assert len(blobs["frames"]) == GAMES * 80 * 80
    assert len(blobs["stack"]) == 4 * 80 * 80
    first, second, third = header["games"]
    assert first == {"game": 0, "action": 1, "greedy": False, "score": 3, "speed": 6.5, "night": False}
    assert (second["night"], third["greedy"]) == (True, True)
    assert header["large"] == {"game": 0, "values": pytest.approx([0.1, 0.5, 0.2]), "action": 1}


def test_games_of_several_environments_are_numbered_through(board):
    board.fps = 1e9
    viewer = Viewer()
    viewer.ask({"game": GAMES + 1})
    show(board, 1)
    show(board, 2, source=1)
    header, blobs = unpacked(viewer.news(board, {}))
    assert [game["game"] for game in header["games"]] == list(range(2 * GAMES))
    assert header["large"]["game"] == GAMES + 1
    assert set(blobs["stack"]) == {2}


def test_a_paused_viewer_gets_numbers_only(board):
    board.fps = 1e9
    viewer = Viewer()
    viewer.ask({"speed": "paused"})
    show(board)
    board.progress = {"step": 5}
    header, blobs = unpacked(viewer.news(board, {}))
    assert header["progress"] == {"step": 5}
    assert "games" not in header
    assert blobs == {}


def test_a_large_crowd_of_games_is_cut_to_the_last(monkeypatch):
    draws = np.int16([2, *range(16), 0, 1, *range(8)]).tobytes()
    assert last_games(draws, 3, 3) == draws
    assert np.frombuffer(last_games(draws, 3, 1), np.int16).tolist() == [1, *range(8)]


@pytest.mark.parametrize(
    "request_", [None, [], "x", {}, {"game": -1}, {"game": 10**9}, {"speed": "warp"}, {"saliency": 1}]
)
def test_other_requests_are_refused(request_):
    with pytest.raises(ValueError):
        Viewer().ask(request_)


def test_blobs_begin_where_typed_arrays_may():
    for size in range(9):
        message = packed({"x": "y" * size}, {"a": b"1" * size, "b": b"23"})
        header, blobs = unpacked(message)
        assert blobs == {"a": b"1" * size, "b": b"23"}
        start = 4 + struct.unpack_from("<I", message)[0]
        assert all((start + at) % 8 == 0 for at, _ in header["blobs"].values())


def test_numbers_become_plain():
    mixed = {"a": np.int64(1), "b": (np.float32(0.5), float("inf")), "c": np.array([True]), "d": Path("x")}
    assert plain(mixed) == {"a": 1, "b": [0.5, None], "c": [True], "d": "x"}


def test_games_that_end_are_counted(board):
    board.fps = 1e9
    tally = Tally(board, 4)
    for seed, capped in ((7, False), (8, True)):
        tally.add(Episode(seed, 100.0 * seed, 1.0, 5, capped, {"speed": 8.0}, []))
    assert board.progress == {"games": 2, "of": 4, "share": 0.5, "scoreMean": 750.0, "best": 800.0}
    assert board.ends() == [{"obstacle": "bird at height 50", "doing": "jumping", "speed": "8", "games": 1}]


def test_a_watched_environment_shows_what_was_chosen_on_what(board):
    import gymnasium

    board.fps = 1e9
    inner = gymnasium.make_vec("CartPole-v1", num_envs=2)
    with contextlib.closing(Watched(inner, board)) as env:
        seen, _ = env.reset(seed=1)
        env.step(np.array([0, 1]))
    _, moment = board.moments[0]
    np.testing.assert_array_equal(moment.observations, seen)
    assert moment.actions.tolist() == [0, 1]


# --- Who may see it --------------------------------------------------------------------------------------


def address(server) -> tuple[str, str]:
    """Host with port, and path with the token."""
    parts = urlsplit(server.url)
    return parts.netloc, parts.path


def get(server, path: str, **headers) -> http.client.HTTPResponse:
    host, _ = address(server)
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.text = response.read().decode()
    return response


class Client:
    """A viewer without a browser."""

    def __init__(self, url: str, *requests: dict, **options):
        host = urlsplit(url).netloc
        where = url.replace("http", "ws") + "socket"
        self.socket: WebSocket = create_connection(
            where, **{"origin": f"http://{host}", "timeout": WAIT_S, **options}
        )
        self.ask(*requests)

    def ask(self, *requests: dict):
        for request in requests:
            self.socket.send(json.dumps(request))

    def until(self, *names: str) -> tuple[dict, dict[str, bytes]]:
        """Of all messages until each of these has come: the newest of every entry."""
        header: dict = {}
        blobs: dict[str, bytes] = {}
        deadline = time.monotonic() + 2 * WAIT_S
        while not header.keys() | blobs.keys() >= set(names):
            assert time.monotonic() < deadline, f"{names} did not come, but {header}"
            message = self.socket.recv()
            if not message:
                raise ConnectionError("the server closed the connection")
            new_header, new_blobs = unpacked(message)
            header, blobs = header | new_header, blobs | new_blobs
        return header, blobs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_the_page_is_served_to_who_has_the_token(server):
    _, path = address(server)
    page = get(server, path)
    assert page.status == 200
    assert "Training ChromeDino-v0" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    about = re.search(r'id="about">(.*)</script>', page.text).group(1)
    facts = {fact["name"]: fact["value"] for fact in json.loads(about)["facts"]}
    assert facts["command"] == "train </script> it"  # which did not end the element
    names = re.findall(r'(?:src|href)="([\w.]+)"', page.text)
    names += ["wire.js", "games.js", "charts.js", "values.js"]
    assert {"plotly.js", "main.js", "style.css"} <= set(names)
    for name in names:
        assert get(server, path + name).status == 200
    assert not re.search(r'(src|href)="(?!data:,)[^"]*[:/]', page.text)  # nothing comes from elsewhere


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[x"])
def test_a_foreign_host_is_refused(host, server):
    _, path = address(server)
    assert get(server, path, Host=host).status in (400, 403)


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1:9", "[::1]:9", "localhost"])
def test_a_tunnel_may_have_another_port(host, server):
    _, path = address(server)
    assert get(server, path, Host=host).status == 200
    with Client(server.url, host=host, origin=f"http://{host}") as client:
        client.until("over") if server._board.over else client.ask({"speed": "full"})


@pytest.mark.parametrize(
    "path", ["/", "/guess/", "/guess/main.js", "//", "/../", "/guess/socket", "/%2e%2e/", "*"]
)
def test_a_wrong_token_is_refused(path, server):
    assert get(server, path).status == 403


@pytest.mark.parametrize(
    "name",
    ["../server.py", "..%2fserver.py", "page/main.js", "index.html", "/etc/passwd", "main.js/", "./main.js"],
)
def test_only_files_of_the_page_are_served(name, server):
    _, path = address(server)
    assert get(server, path + name).status == 404


STRANGERS = {
    "origin": {"origin": "http://evil.example"},
    "origin of another port": {"origin": "http://127.0.0.1:1"},
    "https": {"origin": "https://127.0.0.1"},
    "no origin": {"suppress_origin": True},
    "host": {"host": "evil.example", "origin": "http://evil.example"},
}


@pytest.mark.parametrize("wrong", STRANGERS)
def test_a_stranger_gets_no_connection(wrong, server):
    with pytest.raises(WebSocketBadStatusException) as refused:
        Client(server.url, **STRANGERS[wrong])
    assert refused.value.status_code == 403


def test_a_wrong_token_gets_no_connection(server):
    host, _ = address(server)
    with pytest.raises(WebSocketBadStatusException) as refused:
        Client(f"http://{host}/guess/")
    assert refused.value.status_code == 403


def test_viewers_are_bounded(server):
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_VIEWERS):
            opened.enter_context(Client(server.url))
        with pytest.raises(WebSocketBadStatusException) as refused:
            Client(server.url)
        assert refused.value.status_code == 503


@pytest.mark.parametrize("message", ["nonsense", '{"game": "0"}', "x" * 5_000, "[" * 90])
def test_what_no_page_sends_ends_the_connection(message, server):
    with Client(server.url) as client:
        client.socket.send(message)
        with pytest.raises(ConnectionError):
            client.until("nothing")
    with Client(server.url):
        pass  # another one is served


def test_it_listens_on_loopback_only(server):
    host, port = address(server)[0].split(":")
    assert host == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for other in others - {"127.0.0.1"}:
        if not other.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((other, int(port)), timeout=2).close()


def test_a_port_that_is_taken(board, server):
    port = int(address(server)[0].split(":")[1])
    with pytest.raises(DinoError, match=f"port {port}"):
        DashboardServer(board, port)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """A file with the address that the user's browser was told to open."""
    path = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 > {path}\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # BROWSER is read once
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="BROWSER is for Linux")
def test_watch_opens_the_page_in_the_user_s_browser(cli, opened, tmp_path):
    run = ("train", "--env", "CartPole-v1", "--algo", "cem", "--steps", 400, "--run-dir", tmp_path / "run")
    code, out, _ = cli(*run, "--watch")
    assert code == 0
    address = out.split("Dashboard: ")[1].split()[0]
    assert opened.read_text().strip() == address


def test_watch_without_a_display(cli, monkeypatch, tmp_path):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = cli("train", "--env", "CartPole-v1", "--watch", "--run-dir", tmp_path / "run")
    assert code == 2
    assert "use --dashboard" in err
    assert not (tmp_path / "run").exists()


# --- Viewers that come and go, and one that does not read ---------------------------------------------------


def feed(board: Board, stop: threading.Event, delays: list[float]):
    """A run, as fast as it goes: large observations that do not compress."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (GAMES, 80, 80, 4), np.uint8)
    while not stop.is_set():
        started = time.monotonic()
        board.show(0, None, noise, np.zeros(GAMES, int), np.ones(GAMES, bool), {}, np.zeros((GAMES, 3)))
        delays.append(time.monotonic() - started)
        time.sleep(0.002)


@pytest.fixture
def fed(board):
    stop, delays = threading.Event(), []
    thread = threading.Thread(target=feed, args=(board, stop, delays))
    thread.start()
    yield delays
    stop.set()
    thread.join()


def test_two_viewers_see_what_each_has_chosen(board, server, fed):
    board.progress = {"step": 1}
    with Client(server.url, {"game": 0}) as one, Client(server.url, {"game": 2}, {"speed": "full"}) as two:
        for client, game in ((one, 0), (two, 2)):
            header, _ = client.until("large", "progress")
            while header["large"]["game"] != game:
                header, _ = client.until("large")
            header, blobs = client.until("saliency")
            assert header["saliency"]["game"] == game
            assert len(blobs["saliency"]) == 80 * 80
        assert board.fps == 30.0
    deadline = time.monotonic() + 10
    while board.fps and time.monotonic() < deadline:
        time.sleep(0.01)
    assert board.fps == 0.0  # and the run does nothing more for them


def test_a_viewer_that_does_not_read_slows_nobody(board, server, fed):
    """It gets what fits into the buffers, and then nothing; the run and another viewer do not notice."""
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = address(server)[0].split(":")
    stalled.connect((host, int(port)))
    with contextlib.closing(stalled):
        Client(server.url, {"speed": "full"}, socket=stalled)
        with Client(server.url, {"speed": "full"}) as reader:
            # 150 messages of 60 KB are more than all buffers between.
            for _ in range(150):
                reader.until("large")
            buffered = [c.transport.get_write_buffer_size() for c in server._viewers.values()]
            assert len(buffered) == 2
            assert max(buffered) < 500_000
            assert max(buffered) > 10_000  # the stalled one is stalled
        assert np.percentile(fed, 99) < 0.02
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 4
        assert not server._thread.is_alive()


def test_a_bug_of_the_view_is_reported_and_ends_no_run(board, server, monkeypatch, caplog):
    monkeypatch.setattr(Viewer, "news", lambda *of: 1 / 0)
    monkeypatch.setattr(logging.getLogger("dino_rl"), "propagate", True)  # a command may have changed it
    with Client(server.url) as client, pytest.raises(ConnectionError):
        client.until("progress")
    deadline = time.monotonic() + 10
    while "ZeroDivisionError" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "ZeroDivisionError" in caplog.text
    assert get(server, address(server)[1]).status == 200


def test_games_of_other_processes_are_not_shown():
    config = choose(engine="ray")
    about = about_training(config, make_task(config.env), Path("run"), "")
    assert (about["games"], about["greedy"], about["knowsEnds"]) == (0, 0, False)


def test_the_end_reaches_the_viewers(board, server):
    with Client(server.url) as client:
        time.sleep(0.3)
        board.add("validations", {"mean": 1.0})
        board.over = "The run is over."
        server.close()
        header, _ = client.until("over")
        assert header["over"] == "The run is over."
        with pytest.raises(ConnectionError):
            client.until("nothing")
    server.close()  # a second time
    with pytest.raises(OSError):
        get(server, "/")


# --- Runs ------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_run_without_a_viewer_takes_no_picture(tmp_path, monkeypatch, no_new_browsers):
    asked = []
    config = changed(TINY_IDLE, run={"steps": 90, "validations": 0})
    task = make_task(config.env)
    monkeypatch.setattr(type(task), "pictures", lambda *of: asked.append(of) or Pictures())
    board = Board(about_training(config, task, tmp_path, ""), task)
    with contextlib.closing(DashboardServer(board)) as server:
        with make_run(config, tmp_path, [ShowRun(board, server, tmp_path)], pictures=True) as run:
            run.run()
        assert asked == []
        assert board.over == "The run is over."
        assert not server._thread.is_alive()


def test_a_resumed_run_shows_its_past(tmp_path, monkeypatch):
    write_json(tmp_path / "run.json", {"settings": to_data(TINY_IDLE), "actions": ["nothing"]})
    (tmp_path / "validations.csv").write_text("step,minutes,mean\n5,0.1,30\n9,0.2,20\n")
    task = make_task(TINY_IDLE.env)
    board = Board(about_training(TINY_IDLE, task, tmp_path, ""), task)
    show_run = ShowRun(board, None, tmp_path)
    run = SimpleNamespace(
        step=9,
        minutes=0.2,
        seconds=12.0,
        seconds_left=None,
        episodes=3,
        budget=SimpleNamespace(total=None),
        algorithm=SimpleNamespace(updates=0),
    )
    show_run.on_start(run)
    rows = board.rows_after("validations", 0, 0)[2]
    assert [row["mean"] for row in rows] == [30.0, 20.0]
    assert board.progress["best"] == 30.0
    assert board.progress["scoreMean"] is None


@contextlib.contextmanager
def shown(*arguments, program: str = "run_dino.py"):
    """A command with a dashboard in a process of its own, and the address of the page."""
    process = command(*arguments, "--dashboard", program=program, PYTHONUNBUFFERED="1")
    try:
        lines = iter(process.stdout.readline, "")
        line = next(line for line in lines if line.startswith("Dashboard: "))
        yield process, line.removeprefix("Dashboard: ").strip()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            finish(process)


IDLE = ("--minutes", 30, "--set", "dqn.learning_starts=1000000000")  # compiling would take long
LOCKSTEP = ("--clock", "lockstep")
COMMANDS = {
    "train": ("train", "--preset", "tiny-idle", "--minutes", 30, "--run-dir", "run"),
    "cartpole": ("train", "--env", "CartPole-v1", *IDLE, "--run-dir", "run"),
    "play": ("play", "--headless", *LOCKSTEP),
    "play live": ("play", "--headless"),
    "evaluate": ("evaluate", "--games", 500, "--num-envs", 4, *LOCKSTEP),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_its_games(name, tmp_path, model_file, no_new_browsers):
    """Headless, without a display; stopped with a viewer attached."""
    arguments = [tmp_path / "run" if word == "run" else word for word in COMMANDS[name]]
    if not name.startswith(("train", "cartpole")):
        arguments += ["--model", model_file]
    program = "tests/tiny_run.py" if name == "train" else "run_dino.py"
    with shown(*arguments, program=program) as (process, url), Client(url) as client:
        header, blobs = client.until("large", "progress")
        assert len(header["large"]["values"]) == (2 if name == "cartpole" else 3)
        if name in ("train", "evaluate"):
            draws = np.frombuffer(blobs["sprites"], np.int16)
            assert draws.size > 8 * len(header["games"])
            assert header["sheets"][0].startswith("data:image/png")
            assert 6 <= header["games"][0]["speed"] <= 14
        else:
            image = cv2.imdecode(np.frombuffer(blobs["image"], np.uint8), cv2.IMREAD_UNCHANGED)
            assert image.shape == ((400, 600, 3) if name == "cartpole" else (150, 600, 4))
            assert image.std() > 1
        if name == "cartpole":
            assert len(header["vector"]) == 4
        else:
            assert len(blobs["stack"]) == 4 * 80 * 80
            header, blobs = client.until("saliency", "ends")
            assert len(blobs["saliency"]) == 80 * 80
            assert header["ends"][0].keys() == {"obstacle", "doing", "speed", "games"}
        process.send_signal(signal.SIGINT)
        header, _ = client.until("over")
        assert header["over"]
        code, _, err = finish(process)
        assert (code, "Traceback" in err) == (130, False)


@pytest.mark.parametrize("name", ["play", "evaluate"])
def test_what_plays_in_the_page_has_no_dashboard(name, cli, model_file):
    code, _, err = cli(name, "--model", model_file, "--clock", "live", "--in-page", "--dashboard")
    assert code == 2
    assert "--dashboard" in err


@pytest.mark.parametrize("port", ["70000", "-1", "x"])
def test_a_port_that_is_none(port, cli):
    code, _, err = cli("train", f"--dashboard={port}")
    assert code == 2
    assert "port" in err


# --- The page in a browser -------------------------------------------------------------------------------

# Errors of the page's scripts, and by how much things jumped that were already shown.
WATCH_PAGE = """
window.pageErrors = [];
addEventListener("error", (event) => pageErrors.push(String(event.message ?? event.target.src)), true);
addEventListener("unhandledrejection", (event) => pageErrors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => pageErrors.push(event.violatedDirective));
window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => shifts.push(
  [entry.value, entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName)])
)).observe({ type: "layout-shift", buffered: true });
"""
BLANK = """
return [...document.querySelectorAll("canvas")].filter((canvas) => {
  if (!canvas.checkVisibility()) return false;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size < 2;
}).map((canvas) => canvas.id || canvas.parentElement.className);
"""
CONTRAST = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!text || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const colour = numbers(element.namespaceURI.includes("svg") ? style.fill : style.color);
  const [light, dark] = [luminance(colour), luminance(behind(element))].sort((a, b) => b - a);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < 4.5) found.push([element.textContent.trim().slice(0, 30), Number(ratio.toFixed(2))]);
}
return found;
"""
SIZES = ((1440, 900), (1024, 800), (390, 844))


@pytest.fixture(scope="module")
def screen(session_dir):
    """A browser to look with."""
    with Browser() as browser:
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_PAGE})
        yield browser


def until(browser: Browser, condition: str, timeout_s: float = WAIT_S):
    deadline = time.monotonic() + timeout_s
    while not browser.script(f"return Boolean({condition})"):
        assert time.monotonic() < deadline, (condition, browser.script("return document.body.innerText"))
        time.sleep(0.05)


def resize(browser: Browser, width: int, height: int, scheme: str = "light"):
    browser.set_display((width, height), dark=scheme == "dark")


@pytest.mark.browser
def test_the_page_of_a_run(tmp_path, screen):
    """All panels fill, in every size and scheme, and the page says when the run is over."""
    arguments = ("train", "--preset", "tiny-idle", "--steps", 50_000, "--set", "run.validations=500")
    with shown(*arguments, "--run-dir", tmp_path / "run", program="tests/tiny_run.py") as (process, url):
        resize(screen, *SIZES[0])
        screen.open(url)
        text = "document.body.innerText"
        until(screen, f"{text}.includes('Live, ') && {text}.includes('Most often of')")
        until(
            screen, "document.querySelector('#tiles div:nth-child(6) dd').textContent.trim() !== '\u2013'", 90
        )
        screen.script("scrollTo(0, document.body.scrollHeight)")
        charts = ("ends-chart", "curve-chart", "rate-chart")
        for chart in charts:
            until(screen, f"document.querySelector('#{chart} .points path, #{chart} .lines path')")
        assert screen.script("return shifts.filter(([value]) => value > 0.01)") == []
        for scheme in ("light", "dark"):
            for width, height in SIZES:
                resize(screen, width, height, scheme)
                time.sleep(1.0)  # two pictures later
                assert screen.script("return document.documentElement.scrollWidth") <= width
                assert screen.script(BLANK) == []
                assert screen.script(CONTRAST) == []
        assert screen.script("return document.querySelectorAll('#all-settings .setting').length") > 50
        process.send_signal(signal.SIGINT)
        until(screen, f"{text}.includes('The run was stopped and saved.')")
        assert finish(process)[0] == 130
        assert screen.script("return pageErrors") == []


@pytest.mark.browser
def test_the_page_connects_again(board, server, screen, fed):
    resize(screen, *SIZES[0])
    screen.open(server.url)
    board.progress = {"share": None, "secondsLeft": None, "minutes": 0, "step": 1, "episodes": 41}
    until(screen, "document.body.className === 'live' && tiles.innerText.includes('41')")
    (connection,) = server._viewers.values()
    server._loop.call_soon_threadsafe(connection.transport.abort)
    until(screen, "document.body.className === 'lost'", 5)
    board.progress = {**board.progress, "episodes": 42}
    until(screen, "document.body.className === 'live' && tiles.innerText.includes('42')")
    assert list(server._viewers.values()) != [connection]


@pytest.mark.browser
def test_buttons_act_on_the_view_and_keys_reach_them(board, server, screen, fed):
    resize(screen, *SIZES[0])
    screen.open(server.url)
    until(screen, "document.body.className === 'live' && document.querySelectorAll('#small b').length === 3")
    until(screen, "getComputedStyle(stage).display !== 'none'")
    reached = []
    for _ in range(12):
        screen.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(screen.script("return document.activeElement.id || document.activeElement.ariaLabel"))
    expected = ["pause", "full", "Show game 1 large", "Show game 2 large", "Show game 3 large", "saliency-on"]
    assert [name for name in reached if name in expected][:6] == expected
    (viewer,) = server._viewers

    def wait(condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    press = screen.driver.find_element
    press("id", "full").send_keys(Keys.ENTER)
    wait(lambda: viewer.fps == board.fps == 30.0)
    press("id", "pause").send_keys(Keys.SPACE)
    wait(lambda: viewer.fps == board.fps == 0.0)
    before = len(fed)
    wait(lambda: len(fed) > before)  # the run goes on
    assert "The run goes on" in screen.script("return document.body.innerText")
    press("id", "pause").send_keys(Keys.SPACE)
    press("id", "full").send_keys(Keys.SPACE)
    wait(lambda: viewer.fps == board.fps == 8.0)
    press("css selector", "#small button:nth-child(2)").send_keys(Keys.ENTER)
    wait(lambda: viewer.game == 1)
    until(screen, "document.getElementById('large-name').textContent === 'Game 2'")
    press("id", "saliency-on").send_keys(Keys.SPACE)
    wait(lambda: not viewer.saliency)
    assert screen.script("return pageErrors") == []
