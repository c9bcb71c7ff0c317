"""How an arena exchanges requests and answers with its page: by WebSocket, or through the driver."""

import base64
import contextlib
import json
import secrets
import selectors
import socket
import time
from collections.abc import Callable
from typing import Protocol, cast

from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from dino_rl.browser.chrome import Browser
from dino_rl.browser.release import release_with
from dino_rl.errors import BrowserError

CONNECT_TIMEOUT_S = 10
MAX_ANSWER = 2**28  # bytes; more than thousands of games answer
ANSWER_TIMEOUT_S = 60
CHUNK = 2**18  # bytes read at once; an answer has 6.5 KB for each game
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Channel(Protocol):
    """Requests to the page, and one answer for each."""

    def send(self, request: dict):
        """Send a request, plain data, without waiting for the answer."""

    def receive(self) -> bytes:
        """Wait for the answer to the last request.

        Raises:
            BrowserError: the browser stopped answering.
        """

    def close(self):
        """Close the connection. A second call has no effect."""


class SocketChannel:
    """A WebSocket on loopback that the page opens. No other client can.

    It has no thread of its own: answers are read in the caller's.
    """

    def __init__(self, browser: Browser, origin: str):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            path = "/" + secrets.token_urlsafe(16)
            host, port = listener.getsockname()
            browser.script("DinoArena.connect(arguments[0])", f"ws://{host}:{port}{path}")
            self._socket, self._protocol = accept_page(listener, path, origin)
        self._release = release_with(self, _close, self._socket)

    def send(self, request: dict):
        with self._connected():
            self._protocol.send_text(json.dumps(request).encode())
            self._flush()

    def receive(self) -> bytes:
        with self._connected():
            answer, is_text = self._message()
        if is_text:
            raise RuntimeError(json.loads(answer)["error"])
        return answer

    def close(self):
        self._release()

    def _message(self) -> tuple[bytes, bool]:
        """The next message, and whether it is text. It may come in several frames."""
        parts = []
        is_text = False
        while True:
            for frame in cast(list[Frame], self._protocol.events_received()):
                if frame.opcode not in DATA:
                    continue
                is_text = is_text or frame.opcode is Opcode.TEXT
                parts.append(frame.data)
                if frame.fin:
                    return b"".join(parts), is_text
            data = self._socket.recv(CHUNK)
            if not data:
                raise ConnectionError("the page closed the connection")
            self._protocol.receive_data(data)
            self._flush()
            if self._protocol.state is not State.OPEN:
                raise ConnectionError("the page closed the connection")

    def _flush(self):
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)

    @contextlib.contextmanager
    def _connected(self):
        try:
            yield
        except (OSError, WebSocketException) as error:
            raise BrowserError("The browser stopped answering.") from error


def _close(connection: socket.socket):
    with contextlib.suppress(OSError):  # the page has closed its side
        connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
    connection.close()


def accept_page(listener: socket.socket, path: str, origin: str) -> tuple[socket.socket, ServerProtocol]:
    """The WebSocket connection of the page. Other clients are refused, and keep nobody waiting.

    Args:
        listener: a listening socket on 127.0.0.1.
        path: with a secret that only the page was given.
        origin: of the page, as its browser sends it.

    Raises:
        BrowserError: the page did not connect in time.
    """
    clients: set[socket.socket] = set()
    try:
        return _first_page(listener, path, origin, clients)
    finally:
        for client in clients:
            client.close()


def _first_page(
    listener: socket.socket, path: str, origin: str, clients: set[socket.socket]
) -> tuple[socket.socket, ServerProtocol]:
    """As `accept_page`. What is in `clients` afterwards is to be closed."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        while (remaining := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(remaining):
                if key.fileobj is listener:
                    client, _ = listener.accept()
                    clients.add(client)
                    client.setblocking(False)
                    protocol = ServerProtocol(origins=[origin], max_size=MAX_ANSWER)  # type: ignore[list-item]
                    waiting.register(client, selectors.EVENT_READ, protocol)
                    continue
                client, protocol = cast(socket.socket, key.fileobj), key.data
                wants_more = False
                with contextlib.suppress(OSError):
                    wants_more = _shake_hands(client, protocol, path)
                if protocol.state is State.OPEN:
                    clients.remove(client)
                    client.settimeout(ANSWER_TIMEOUT_S)
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                    return client, protocol
                if not wants_more:
                    waiting.unregister(client)
                    clients.remove(client)
                    client.close()
    raise BrowserError(f"The game's page did not connect within {CONNECT_TIMEOUT_S} s.")


def _shake_hands(client: socket.socket, protocol: ServerProtocol, path: str) -> bool:
    """Read what a WebSocket client has sent of its request, and accept or reject a whole one. `protocol`
    checks the origin and the rest of it.

    Returns:
        whether there is more to come of the request.
    """
    data = client.recv(CHUNK)
    if not data:
        return False
    protocol.receive_data(data)
    requests = protocol.events_received()
    if not requests:
        return protocol.handshake_exc is None
    request = cast(Request, requests[0])
    host, port = client.getsockname()
    right_host = request.headers.get_all("Host") == [f"{host}:{port}"]
    right_path = secrets.compare_digest(request.path.encode(), path.encode())
    if right_host and right_path:
        protocol.send_response(protocol.accept(request))
    else:
        protocol.send_response(protocol.reject(403, "This connection is for the game's page only.\n"))
    for data in protocol.data_to_send():
        client.sendall(data)
    return False


class ScriptChannel:
    """One WebDriver call for each step: simpler, and slower."""

    def __init__(self, browser: Browser, origin: str):
        self._browser = browser

    def send(self, request: dict):
        self._request = request

    def receive(self) -> bytes:
        script = """
            const bytes = new Uint8Array(DinoArena.advance(arguments[0]));
            let text = "";
            for (let i = 0; i < bytes.length; i += 32768) {
              text += String.fromCharCode.apply(null, bytes.subarray(i, i + 32768));
            }
            return btoa(text);"""
        return base64.b64decode(self._browser.script(script, self._request))

    def close(self):
        """Nothing to close: the browser is the arena's."""


CHANNELS: dict[str, Callable[[Browser, str], Channel]] = {"socket": SocketChannel, "script": ScriptChannel}
