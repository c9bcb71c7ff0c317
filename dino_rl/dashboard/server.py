"""The server of a dashboard: its page and a WebSocket for each viewer, in a thread of its own.

Who can see it: it listens on 127.0.0.1, and every address begins with a random token that only the printed
address has. The `Host` of a request must be a name of this machine, or any web page could reach it under a
name of its own that it points to 127.0.0.1 (DNS rebinding); any port will do, because an SSH tunnel may have
another. A WebSocket must come from a page of this server (`Origin`). A request names one of a fixed set of
files, never a path.
"""

import asyncio
import gzip
import html
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response

from dino_rl.dashboard.board import Board
from dino_rl.dashboard.viewer import Attention, Viewer
from dino_rl.errors import DinoError
from dino_rl.program import how_to_install
from dino_rl.saliency import saliency

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_VIEWERS = 8
MAX_REQUEST_BYTES = 100  # of what a page sends
IDLE_S = 0.25  # from one look for news to the next, of a viewer that is paused
SALIENCY_SHARE = 0.01  # of the time, at most
SALIENCY_STRIDE = 8  # pixels; coarser than in a report, because it is computed beside the run
START_TIMEOUT_S, STOP_TIMEOUT_S, FAREWELL_S = 10.0, 5.0, 1.0
# Nothing from elsewhere, no scripts in attributes, no frame around the page. Plotly writes style elements.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

log = logging.getLogger(__name__)
_silent = logging.Logger("websockets, whose messages are about other people's requests", logging.CRITICAL)


class DashboardServer:
    """Serves a board until closed.

    Args:
        board: what is shown.
        port: on 127.0.0.1; 0: a free one.

    Raises:
        DinoError: the port is taken, or plotly is not installed.

    Attributes:
        url: the address of the page, with the token.
    """

    def __init__(self, board: Board, port: int = 0):
        self._board = board
        self._token = secrets.token_urlsafe(24)
        self._files = page_files(board.about)
        self._viewers: dict[Viewer, ServerConnection] = {}
        self._attention: dict[int, Attention] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        started: list[int | OSError] = []
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(port, started, ready), name="dashboard", daemon=True
        )
        self._thread.start()
        ready.wait(START_TIMEOUT_S)
        if not started or isinstance(started[0], OSError):
            why = started[0].strerror if started and isinstance(started[0], OSError) else "no answer"
            raise DinoError(f"The dashboard cannot use port {port} ({why}): name another, or leave it out.")
        self.url = f"http://127.0.0.1:{started[0]}/{self._token}/"

    def close(self) -> None:
        """Send viewers what they lack, and stop. A second call has no effect."""
        if self._thread.is_alive() and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(STOP_TIMEOUT_S)

    # --- The thread ---------------------------------------------------------------------------------------

    def _run(self, port: int, started: list[int | OSError], ready: threading.Event):
        try:
            asyncio.run(self._serve(port, started, ready))
        finally:
            ready.set()

    async def _serve(self, port: int, started: list[int | OSError], ready: threading.Event):
        self._loop = asyncio.get_running_loop()
        deflate = ServerPerMessageDeflateFactory(compress_settings={"level": 1, "memLevel": 5})
        try:
            server = await serve(
                self._attend,
                "127.0.0.1",
                port,
                process_request=self._answer,
                extensions=[deflate],
                compression=None,  # the extension above is it
                max_size=MAX_REQUEST_BYTES,
                max_queue=4,
                close_timeout=FAREWELL_S,
                server_header=None,
                logger=_silent,
            )
        except OSError as error:
            started.append(error)
            return
        started.append(next(iter(server.sockets)).getsockname()[1])
        ready.set()
        looking = asyncio.create_task(self._look())
        looking.add_done_callback(report)
        await self._over.wait()
        looking.cancel()
        await self._say_farewell(server)

    async def _say_farewell(self, server: Server):
        """Viewers that read get the last news; those that do not are cut off."""
        self._board.fps = 0.0
        farewells = [self._farewell(viewer, connection) for viewer, connection in self._viewers.items()]
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*farewells, return_exceptions=True), FAREWELL_S)
        for connection in self._viewers.values():
            connection.transport.abort()
        server.close(close_connections=True)
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(server.wait_closed(), FAREWELL_S)

    async def _farewell(self, viewer: Viewer, connection: ServerConnection):
        news = viewer.news(self._board, self._attention)
        if news:
            await connection.send(news)
        await connection.close(1001, "the run is over")

    # --- Files --------------------------------------------------------------------------------------------

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """An answer to a request for a file; None to open a WebSocket."""
        host = request.headers.get_all("Host")
        if len(host) != 1 or not is_loopback(host[0]):
            return refusal(HTTPStatus.FORBIDDEN, "This address is not this machine's.")
        token, _, name = request.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return refusal(HTTPStatus.FORBIDDEN, "Open the address that the command printed, as a whole.")
        if request.path == f"/{token}":  # copied without its last slash, which relative addresses need
            return refusal(HTTPStatus.NOT_FOUND, "Open the address that the command printed, as a whole.")
        if name == "socket":
            if request.headers.get_all("Origin") != [f"http://{host[0]}"]:
                return refusal(HTTPStatus.FORBIDDEN, "This connection is for the dashboard's own page.")
            if len(self._viewers) >= MAX_VIEWERS:
                return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "There are enough viewers.")
            return None
        if name not in self._files:
            return refusal(HTTPStatus.NOT_FOUND, "There is no such file.")
        kind, content = self._files[name]
        body = content()
        headers = file_headers(kind)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 6)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, headers, body)

    # --- Viewers ------------------------------------------------------------------------------------------

    async def _attend(self, connection: ServerConnection):
        """Serve one viewer for as long as it stays."""
        viewer = Viewer()
        self._viewers[viewer] = connection
        self._count()
        tasks = [
            asyncio.create_task(self._listen(viewer, connection)),
            asyncio.create_task(self._send(viewer, connection)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(report)
            self._viewers.pop(viewer, None)
            self._count()

    async def _listen(self, viewer: Viewer, connection: ServerConnection):
        async for message in connection:
            try:
                viewer.ask(json.loads(message))
            except ValueError:
                await connection.close(1008, "not a request of the page")
                return
            self._count()

    async def _send(self, viewer: Viewer, connection: ServerConnection):
        """What is new, then again. While a viewer does not read, `send` waits, and only the newest is sent
        after that: nothing queues up."""
        while not self._over.is_set():
            started = time.monotonic()
            news = viewer.news(self._board, self._attention)
            if news:
                await connection.send(news)
            spent = time.monotonic() - started
            await asyncio.sleep(max(0.01, (0.5 / viewer.fps if viewer.fps else IDLE_S) - spent))

    def _count(self):
        """How many pictures a second the viewers want together."""
        if not self._over.is_set():
            self._board.fps = max((viewer.fps for viewer in self._viewers), default=0.0)

    # --- Saliency -----------------------------------------------------------------------------------------

    async def _look(self):
        """Compute saliency maps of the games that viewers see large, in turn, within a fixed share of the
        time."""
        while True:
            await asyncio.sleep(IDLE_S)
            wanted = {viewer.game for viewer in self._viewers if viewer.saliency and viewer.fps}
            self._attention = {game: seen for game, seen in self._attention.items() if game in wanted}
            for game in wanted:
                observation = self._observation(game)
                if observation is None or self._board.values_of is None:
                    continue
                if observation.ndim != 3:
                    continue
                started = time.monotonic()
                found = await asyncio.to_thread(
                    saliency, self._board.values_of, observation[None], SALIENCY_STRIDE
                )
                took = time.monotonic() - started
                self._attention[game] = Attention(game, observation[..., -1].copy(), found[0])
                await asyncio.sleep(took / SALIENCY_SHARE)

    def _observation(self, game: int) -> Any:
        """The newest one of a game; None if there is none."""
        first = 0
        for _, (_, moment) in sorted(self._board.moments.items()):
            count = len(moment.actions)
            if first <= game < first + count:
                return moment.observations[game - first]
            first += count
        return None


def report(task: asyncio.Task):
    """Log what ended a task, unless it was cancelled or its viewer has left."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ConnectionClosed):
        log.error("the dashboard has a bug", exc_info=error)


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine, with any port."""
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def page_files(about: dict[str, Any]) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """The files of the page by name: type, and how to read them. "" is the page itself.

    Raises:
        DinoError: plotly is not installed.
    """
    package = find_spec("plotly")
    if package is None or not package.submodule_search_locations:
        raise DinoError(f"The dashboard needs plotly, which is not installed: {how_to_install('plotly')}.")
    plotly = Path(package.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    files = {path.name: (TYPES[path.suffix], path.read_bytes) for path in PAGE.iterdir()}
    files["plotly.js"] = ("text/javascript", plotly.read_bytes)
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    data = json.dumps(about).replace("<", "\\u003c")  # nothing in it can end the script element
    page = text.replace("{{title}}", html.escape(about["title"])).replace("{{about}}", data).encode()
    del files["index.html"]
    return {**files, "": ("text/html", lambda: page)}


def file_headers(kind: str) -> Headers:
    """Of every answer."""
    return Headers(
        {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )


def refusal(status: HTTPStatus, why: str) -> Response:
    """An answer without a file."""
    body = (why + "\n").encode()
    headers = file_headers("text/plain")
    headers["Content-Length"] = str(len(body))
    return Response(status.value, status.phrase, headers, body)
