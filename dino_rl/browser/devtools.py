"""A direct connection to the page, for live play: Chrome's DevTools protocol over a WebSocket.

Selenium starts and owns the browser, but each of its commands goes through the driver by HTTP (3-5 ms). A
live game, which needs two commands for each decision, cannot wait that long. This connection answers in
about 0.5 ms, and key events need no answer.
"""

import contextlib
import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

from websocket import WebSocket, WebSocketException, create_connection

from dino_rl.browser.chrome import CLOSED, Browser
from dino_rl.browser.release import release_with
from dino_rl.errors import BrowserError

TIMEOUT_S = 30


class DevTools:
    """A connection to the page that `browser` shows.

    Raises:
        BrowserError: the browser does not answer.
    """

    def __init__(self, browser: Browser):
        self._browser = browser
        address = browser.driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
        with self._answering():
            request = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
            request.request("GET", "/json/list")
            targets = json.loads(request.getresponse().read())
            request.close()
            page = next(target for target in targets if target["type"] == "page")
            host, _, port = address.rpartition(":")
            self._socket = create_connection(
                page["webSocketDebuggerUrl"],
                timeout=TIMEOUT_S,
                suppress_origin=True,  # the browser refuses those of web pages
                skip_utf8_validation=True,
                # Connected here: websocket-client asks the proxy of the environment even for loopback.
                socket=socket.create_connection((host, int(port)), TIMEOUT_S),
            )
        self._release = release_with(self, _close, self._socket)
        self._ids = itertools.count(1)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what it resolves to if it is a promise.

        Raises:
            RuntimeError: the expression threw an error.
            BrowserError: the browser stopped answering, or is closed.
        """
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        number = self.post("Runtime.evaluate", options)
        with self._answering():
            while True:
                message = self._socket.recv()
                if not message:
                    raise WebSocketException("the browser closed the connection")
                answer = json.loads(message)
                if answer.get("id") == number:  # the others answer `post`, which does not wait
                    break
        result = answer.get("result", {})
        if "exceptionDetails" in result or "error" in answer:
            raise RuntimeError(f"{expression}: {result.get('exceptionDetails') or answer['error']}")
        return result["result"].get("value")

    def post(self, command: str, arguments: dict) -> int:
        """Send a command without waiting for its answer. Returns the command's number."""
        if not self._release.alive:
            raise BrowserError(CLOSED)
        self._browser.check()
        number = next(self._ids)
        with self._answering():
            self._socket.send(json.dumps({"id": number, "method": command, "params": arguments}))
        return number

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (WebSocketException, HTTPException, OSError, ValueError, StopIteration) as error:
            raise self._browser.fault("The browser stopped answering.") from error

    def close(self):
        """Close the connection. A second call has no effect."""
        self._release()


def _close(socket: WebSocket):
    with contextlib.suppress(WebSocketException, OSError):
        socket.close()
