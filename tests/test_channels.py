"""The connections between this process and the page: for the page alone, and on loopback only."""

import contextlib
import http.client
import socket
import threading
import time

import psutil
import pytest
from websocket import ABNF, WebSocketBadStatusException, WebSocketException, create_connection

from dino_rl.browser import channels
from dino_rl.browser.channels import SocketChannel, accept_page
from dino_rl.browser.server import PageServer
from dino_rl.errors import BrowserError

ORIGIN = "http://127.0.0.1:8123"


class FakePage:
    """Opens the connection as the page's script does, and answers as the test says."""

    def __init__(self, answer=lambda client: None):
        self._answer = answer

    def script(self, script: str, url: str):
        assert script.startswith("DinoArena.connect(")
        self.url = url
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        client = create_connection(self.url, origin=ORIGIN, timeout=10)
        with contextlib.suppress(WebSocketException, OSError):  # closed by the other side
            client.recv()
            self._answer(client)
            client.recv()
        client.shutdown()


# --- Who may connect -------------------------------------------------------------------------------------

STRANGERS = {
    "token": {"path": "/guessed"},
    "no token": {"path": "/"},
    "origin": {"origin": "http://evil.example"},
    "no origin": {"suppress_origin": True},
    "host": {"host": "evil.example"},
    "another port": {"host": "127.0.0.1:1"},
}


@pytest.mark.parametrize("wrong", STRANGERS)
def test_only_the_page_may_connect(wrong):
    refused = []

    def connect(port: int):
        url = f"ws://127.0.0.1:{port}"
        stranger = {"origin": ORIGIN, **STRANGERS[wrong]}
        try:
            create_connection(url + stranger.pop("path", "/secret"), timeout=10, **stranger)
        except WebSocketBadStatusException as error:
            refused.append(error.status_code)
        page.append(create_connection(url + "/secret", origin=ORIGIN, timeout=10))

    page = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = threading.Thread(target=connect, args=(listener.getsockname()[1],))
        client.start()
        accepted, _ = accept_page(listener, "/secret", ORIGIN)
        client.join(10)
    assert refused == [403]
    assert accepted.getpeername() == page[0].sock.getsockname()
    accepted.close()
    page[0].shutdown()


SLOW = {
    "nothing": b"",
    "the beginning": b"GET / HTTP/1.1\r\n",
    "noise": b"\x00\xff" * 50 + b"\r\n\r\n",
    "a line without end": b"GET /" + b"x" * 100_000,
    "headers without end": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
}


@pytest.mark.parametrize("said", SLOW)
def test_clients_that_do_not_shake_hands_keep_nobody_waiting(said):
    page = FakePage()
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as strangers:
        address = listener.getsockname()
        for _ in range(30):
            stranger = strangers.enter_context(socket.create_connection(address))
            with contextlib.suppress(OSError):
                stranger.setblocking(False)
                stranger.send(SLOW[said])
        page.script("DinoArena.connect(arguments[0])", "ws://{}:{}/secret".format(*address))
        started = time.monotonic()
        accepted, _ = accept_page(listener, "/secret", ORIGIN)
        assert time.monotonic() - started < 5
    accepted.close()


def test_a_client_that_sends_byte_by_byte_keeps_nobody_waiting():
    page = FakePage()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        over = threading.Event()

        def trickle():
            with socket.create_connection(address) as stranger, contextlib.suppress(OSError):
                while not over.wait(0.02):
                    stranger.sendall(b"G")

        threading.Thread(target=trickle, daemon=True).start()
        time.sleep(0.1)
        page.script("DinoArena.connect(arguments[0])", "ws://{}:{}/secret".format(*address))
        accepted, _ = accept_page(listener, "/secret", ORIGIN)
        over.set()
    accepted.close()


def test_a_page_that_does_not_connect_is_an_error(monkeypatch):
    monkeypatch.setattr(channels, "CONNECT_TIMEOUT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(BrowserError, match="did not connect within"),
    ):
        accept_page(listener, "/secret", ORIGIN)


def test_tokens_differ_and_a_second_connection_is_refused():
    urls = set()
    for _ in range(2):
        page = FakePage()
        channel = SocketChannel(page, ORIGIN)
        urls.add(page.url.rpartition("/")[2])
        with pytest.raises(ConnectionRefusedError):
            create_connection(page.url, origin=ORIGIN, timeout=10)
        channel.close()
    assert len(urls) == 2
    assert min(map(len, urls)) >= 20


@pytest.mark.browser
def test_all_ports_are_on_loopback_and_the_arena_keeps_none(arena):
    listening = [
        connection.laddr
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert arena._channel._socket.getsockname()[1] not in {address.port for address in listening}


# --- Messages --------------------------------------------------------------------------------------------


def test_an_answer_may_come_in_several_frames():
    def answer(client):
        client.send_frame(ABNF.create_frame(b"one ", ABNF.OPCODE_BINARY, fin=0))
        client.ping(b"alive?")
        client.send_frame(ABNF.create_frame(b"two ", ABNF.OPCODE_CONT, fin=0))
        client.send_frame(ABNF.create_frame(b"x" * 1_000_000, ABNF.OPCODE_CONT, fin=1))

    channel = SocketChannel(FakePage(answer), ORIGIN)
    channel.send({"frames": 1})
    assert channel.receive() == b"one two " + b"x" * 1_000_000
    channel.close()


def test_an_error_in_the_page_is_a_bug():
    channel = SocketChannel(FakePage(lambda client: client.send('{"error": "TypeError: x"}')), ORIGIN)
    channel.send({})
    with pytest.raises(RuntimeError, match="TypeError: x"):
        channel.receive()
    channel.close()


def test_an_answer_that_is_too_large_is_a_lost_browser(monkeypatch):
    monkeypatch.setattr(channels, "MAX_ANSWER", 2**20)

    def answer(client):
        client.send_frame(ABNF.create_frame(b"x" * 2**19, ABNF.OPCODE_BINARY, fin=0))
        for _ in range(4):
            client.send_frame(ABNF.create_frame(b"x" * 2**19, ABNF.OPCODE_CONT, fin=0))

    channel = SocketChannel(FakePage(answer), ORIGIN)
    channel.send({})
    with pytest.raises(BrowserError, match=r"^The browser stopped answering\.$"):
        channel.receive()
    channel.close()


def test_a_frame_that_announces_too_much_takes_no_memory():
    """A header of ten bytes that says 2^62 bytes follow."""

    def answer(client):
        client.sock.sendall(b"\x82\xff" + (2**62).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 1000)

    channel = SocketChannel(FakePage(answer), ORIGIN)
    channel.send({})
    with pytest.raises(BrowserError, match=r"^The browser stopped answering\.$"):
        channel.receive()
    channel.close()


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_a_page_that_closes_the_connection_is_a_lost_browser(end):
    channel = SocketChannel(FakePage(lambda client: getattr(client, end)()), ORIGIN)
    channel.send({})
    with pytest.raises(BrowserError, match=r"^The browser stopped answering\.$"):
        channel.receive()
    channel.close()
    with pytest.raises(BrowserError):
        channel.send({})


def test_a_page_that_does_not_answer_is_a_lost_browser(monkeypatch):
    monkeypatch.setattr(channels, "ANSWER_TIMEOUT_S", 0.2)
    channel = SocketChannel(FakePage(), ORIGIN)
    channel.send({})
    with pytest.raises(BrowserError, match="stopped answering"):
        channel.receive()
    channel.close()


def test_closing_wakes_a_thread_that_waits():
    channel = SocketChannel(FakePage(), ORIGIN)
    channel.send({})
    errors = []

    def wait():
        try:
            channel.receive()
        except BrowserError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    channel.close()
    channel.close()  # twice is no error
    waiting.join(5)
    assert not waiting.is_alive()
    assert len(errors) == 1


# --- The page server -------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server of a page that is easily told."""
    server = PageServer("<html><head></head>the page</html>")
    yield server
    server.close()


def get(
    server: PageServer, path: str, host: str | None = None, method: str = "GET", **headers: str
) -> tuple[int, bytes]:
    """Of a path below the secret one, unless it begins with two slashes."""
    address = server.origin.removeprefix("http://")
    secret = server.url.removeprefix(server.origin)
    connection = http.client.HTTPConnection(address, timeout=10)
    whole = path[1:] if path.startswith("//") else secret + path
    connection.request(method, whole, headers={"Host": host or address, **headers})
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def test_the_page_is_served_with_the_bridge(server):
    status, page = get(server, "/dino.html?clock=lockstep")
    assert status == 200
    assert page.startswith(b'<html><head><script src="game/virtual_time.js">')
    assert b'<script src="game/bridge.js"></script></head>the page' in page
    assert get(server, "/game/arena.html")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/arena.html", "/game/", "/game", "/../README.md", "/game/../README.md"),
        *("/game/%2e%2e/README.md", "/game/..%2fREADME.md", "/game//etc/passwd", "/game/%2fetc/passwd"),
        *("/game/..\\README.md", "/game/%5c..%5cREADME.md", "/game/arena.js%00.html"),
        *("//dino.html", "//game/arena.js", "//guessed/dino.html", "//", "//arena.js"),  # without the secret
    ],
)
def test_nothing_else_is_served(path, server):
    assert get(server, path)[0] == 404


def test_a_method_that_reads_nothing_is_refused(server):
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"):
        assert get(server, "/game/arena.js", method=method)[0] in (405, 501)


FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_origins_read_nothing(headers, server):
    for path in ("/dino.html", "/game/arena.js"):
        status, text = get(server, path, **headers)
        assert status == 403
        assert b"the page" not in text
    assert get(server, "/dino.html", Origin=server.origin)[0] == 200


def test_secret_paths_differ():
    servers = [PageServer("<head></head>") for _ in range(2)]
    secrets = {server.url.removeprefix(server.origin) for server in servers}
    for server in servers:
        server.close()
    assert len(secrets) == 2
    assert min(map(len, secrets)) >= 20


def test_a_page_for_people_has_no_secret_path():
    server = PageServer("<head></head>the page", "play()")
    assert server.url == server.origin
    assert get(server, "/")[1] == b'<head><script defer src="player.js"></script></head>the page'
    assert get(server, "/player.js")[1] == b"play()"
    server.close()


def test_requests_that_never_end_are_cut_off(server, monkeypatch):
    """Byte by byte, and meanwhile others are served."""
    from dino_rl.browser import server as module

    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.5)
    address = server.origin.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((address[0], int(address[1])))) for _ in range(20)
        ]
        started = time.monotonic()
        assert get(server, "/dino.html")[0] == 200
        left = set(slow)
        while left and time.monotonic() - started < 20:
            for client in list(left):
                try:
                    client.sendall(b"G")
                except OSError:
                    left.remove(client)
            time.sleep(0.05)
    assert not left
    assert get(server, "/dino.html")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1"])
def test_requests_for_another_host_are_refused(host, method, server):
    for path in ("/dino.html", "/game/arena.js"):
        status, text = get(server, path, host, method)
        assert status == 403
        assert b"the page" not in text
    assert get(server, "/dino.html")[0] == 200


def test_a_closed_server_does_not_answer(server):
    server.close()
    server.close()  # twice is no error
    with pytest.raises(ConnectionRefusedError):
        get(server, "/dino.html")
