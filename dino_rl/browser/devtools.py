"""A direct line to the page, for live play: Chrome's DevTools protocol over its own WebSocket.

Selenium starts and owns the browser. But each of its commands passes through the driver by HTTP, 3-5 ms; a
live game cannot wait that long twice a decision. This line takes about 0.5 ms, and keys need no answer.

Of the two WebSocket libraries here this is the one that reads in the caller's own thread: the other, which
serves the arenas, hands each message from a thread of its own to the caller's.
"""

import contextlib
import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any

from websocket import WebSocketException, create_connection

from dino_rl.browser.chrome import Browser
from dino_rl.errors import BrowserError

TIMEOUT_S = 30


class DevTools:
    """A connection to the page that `browser` shows.

    Raises:
        BrowserError: the browser does not answer.
    """

    def __init__(self, browser: Browser):
        address = browser.driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
        with self._answering():
            request = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
            request.request("GET", "/json/list")
            targets = json.loads(request.getresponse().read())
            request.close()
            page = next(target for target in targets if target["type"] == "page")
            self._socket = create_connection(
                page["webSocketDebuggerUrl"],
                timeout=TIMEOUT_S,
                suppress_origin=True,  # the browser refuses those of web pages
                skip_utf8_validation=True,
                http_no_proxy=["*"],
            )
        self._ids = itertools.count(1)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for.

        Raises:
            RuntimeError: the expression threw.
            BrowserError: the browser stopped answering.
        """
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        number = self.post("Runtime.evaluate", options)
        with self._answering():
            while True:
                message = self._socket.recv()
                if not message:
                    raise WebSocketException("The browser closed the line.")
                answer = json.loads(message)
                if answer.get("id") == number:  # the others are answers to `post`, which nobody waits for
                    break
        result = answer.get("result", {})
        if "exceptionDetails" in result or "error" in answer:
            raise RuntimeError(f"{expression}: {result.get('exceptionDetails') or answer['error']}")
        return result["result"].get("value")

    def post(self, command: str, arguments: dict) -> int:
        """Send a command and do not wait for its answer."""
        number = next(self._ids)
        with self._answering():
            self._socket.send(json.dumps({"id": number, "method": command, "params": arguments}))
        return number

    def close(self):
        with contextlib.suppress(WebSocketException, OSError):
            self._socket.close()

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (WebSocketException, OSError, StopIteration) as error:
            raise BrowserError("The browser stopped answering.") from error
