"""A file server on loopback: the `game/` folder, and the game's page with the bridge in it."""

import re
import secrets
import socket
import threading
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from dino_rl.browser.release import release_with
from dino_rl.resources import GAME_DIR

POLL_S = 0.05  # how soon `close` is noticed
SCRIPTS = "/game/"  # path of their directory
REQUEST_TIMEOUT_S = 10  # a client that sends its request byte by byte keeps a thread for no longer
NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of a file in the directory
BRIDGE_SCRIPTS = (
    "virtual_time.js",
    "snapshot.js",
    "agent_frame.js",
    "display_list.js",
    "live_watch.js",
    "spectator.js",
    "bridge.js",
)


class PageServer:
    """Serves `dino.html` and `game/*` on a free port of 127.0.0.1 until closed.

    A request must name this address as its host: otherwise any web page could read the files under a host
    name of its own that it points to 127.0.0.1 (DNS rebinding). One that a page of another origin makes is
    refused, too. All paths begin with a token, unless the pages are for people to find.

    Args:
        page_html: the game's page. `dino.html` is this page with the bridge in it.
        player: an exported player, served as `player.js`; `/` is the game's page with it.
        address: host and port to listen on.
        token: first part of all paths; None: a random one, or none with a player.

    Raises:
        OSError: nothing can listen there.

    Attributes:
        origin: of its pages, on this machine.
        url: of its pages: the origin, and the token.
        port: that it listens on.
    """

    def __init__(
        self,
        page_html: str,
        player: str | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
        token: str | None = None,
    ):
        def page_with(tags: str) -> tuple[str, bytes]:
            return "text/html", page_html.replace("<head>", "<head>" + tags, 1).encode()

        bridge = "".join(f'<script src="game/{name}"></script>' for name in BRIDGE_SCRIPTS)
        pages = {"/dino.html": page_with(bridge)}
        if player is not None:
            pages["/"] = page_with('<script defer src="player.js"></script>')
            pages["/player.js"] = ("text/javascript", player.encode())
        if token is None and player is None:
            token = secrets.token_urlsafe(16)
        prefix = f"/{token}" if token else ""
        handler = partial(_Handler, pages=pages, prefix=prefix, directory=str(GAME_DIR))
        server = ThreadingHTTPServer(address, handler)
        self.port = server.server_address[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = self.origin + prefix
        threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True).start()
        self._release = release_with(self, _stop, server)

    def close(self):
        """Stop serving. A second call has no effect."""
        self._release()


def _stop(server: ThreadingHTTPServer):
    server.shutdown()
    server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, pages: dict[str, tuple[str, bytes]], prefix: str, **kwargs):
        self._pages = pages  # by path: type and content
        self._prefix = prefix
        super().__init__(*args, **kwargs)

    def handle(self):
        def give_up():
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        # A timeout of the socket would begin anew with each byte.
        limit = threading.Timer(REQUEST_TIMEOUT_S, give_up)
        limit.daemon = True
        limit.start()
        try:
            with suppress(OSError):  # the client is gone
                super().handle()
        finally:
            limit.cancel()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        host, port = self.connection.getsockname()
        own = f"{host}:{port}"
        # Browsers say which page asks, and for scripts, pictures and the like what it is to this server.
        foreign = self.headers.get("Origin", f"http://{own}") != f"http://{own}"
        foreign |= self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        foreign &= self.headers.get("Sec-Fetch-Mode") != "navigate"  # a link may lead here
        if self.headers.get_all("Host") != [own] or foreign:
            self.send_error(403)
            return False
        if not self.path.startswith(f"{self._prefix}/"):
            self.send_error(404)
            return False
        self.path = self.path.removeprefix(self._prefix)
        return True

    def end_headers(self):
        self.send_header("Referrer-Policy", "no-referrer")  # the token is in the address
        super().end_headers()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in self._pages:
            kind, content = self._pages[path]
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        elif path.startswith(SCRIPTS) and NAME.fullmatch(name := path.removeprefix(SCRIPTS)):
            self.path = "/" + name
            super().do_GET()
        else:
            self.send_error(404)

    def do_HEAD(self):
        self.send_error(405)

    def log_message(self, *args):
        """Write no log."""
