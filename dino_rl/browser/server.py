"""A file server on loopback: the `game/` folder, and the game's page with the bridge in it."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dino_rl.browser.release import release_with

POLL_S = 0.05  # how soon `close` is noticed
GAME_DIR = Path(__file__).resolve().parents[2] / "game"
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
    """Serves `/dino.html` and `/game/*` on a free port of 127.0.0.1 until closed.

    A request must name this address as its host: otherwise any web page could read the files under a host
    name of its own that it points to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, page_html: str):
        tags = "".join(f'<script src="/game/{name}"></script>' for name in BRIDGE_SCRIPTS)
        page = page_html.replace("<head>", "<head>" + tags, 1).encode()
        handler = partial(_Handler, page=page, directory=str(GAME_DIR))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True).start()
        self._release = release_with(self, _stop, server)

    def close(self):
        """Stop serving. A second call has no effect."""
        self._release()


def _stop(server: ThreadingHTTPServer):
    server.shutdown()
    server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, page: bytes, **kwargs):
        self._page = page
        super().__init__(*args, **kwargs)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        host, port = self.connection.getsockname()
        if self.headers.get_all("Host") != [f"{host}:{port}"]:
            self.send_error(403)
            return False
        return True

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/dino.html":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(self._page)))
            self.end_headers()
            self.wfile.write(self._page)
        elif path.startswith("/game/"):
            self.path = path.removeprefix("/game")
            super().do_GET()
        else:
            self.send_error(404)

    def log_message(self, *args):
        """Write no log."""
