"""Many lock-step games in one page, one answer for all."""

import base64
import contextlib
import json
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from selenium.common.exceptions import JavascriptException, WebDriverException
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from dino_rl.browser.chrome import Browser
from dino_rl.browser.frames import decode_png
from dino_rl.browser.observation import Observation
from dino_rl.browser.page import game_page, page_error
from dino_rl.browser.server import PageServer
from dino_rl.errors import BrowserError
from dino_rl.settings import GameSettings

ANSWER_TIMEOUT_S = 60


class _Channel(Protocol):
    def send(self, request: dict): ...

    def receive(self) -> bytes: ...

    def close(self): ...


@contextlib.contextmanager
def _answering(*gone: type[Exception]):
    """A browser that is gone is the user's affair."""
    try:
        yield
    except gone as error:
        raise BrowserError("The browser stopped answering.") from error


class _SocketChannel:
    """Requests and binary answers through a WebSocket on loopback that the page opens to us."""

    def __init__(self, browser: Browser):
        connections: queue.Queue = queue.Queue()
        self._closed = threading.Event()

        def keep(connection):
            connections.put(connection)
            self._closed.wait()

        # Without pings: they draw from Python's global random numbers, as the initial weights of networks do.
        self._server = serve(keep, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        port = self._server.socket.getsockname()[1]
        browser.driver.execute_async_script(
            "DinoArena.listen(arguments[0]).then(arguments[1], (e) => arguments[1](String(e)))", port
        )
        self._connection = connections.get(timeout=10)

    def send(self, request: dict):
        with _answering(ConnectionClosed):
            self._connection.send(json.dumps(request))

    def receive(self) -> bytes:
        with _answering(ConnectionClosed, TimeoutError):
            answer = self._connection.recv(timeout=ANSWER_TIMEOUT_S)
        if isinstance(answer, str):
            raise RuntimeError(json.loads(answer)["error"])
        return answer

    def close(self):
        self._closed.set()
        with contextlib.suppress(Exception):
            self._server.shutdown()


class _ScriptChannel:
    """The same through WebDriver, one `execute_script` for each step: plain, and slower."""

    def __init__(self, browser: Browser):
        self._driver = browser.driver

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
        try:
            return base64.b64decode(self._driver.execute_script(script, self._request))
        except JavascriptException:
            raise
        except WebDriverException as error:
            raise BrowserError("The browser stopped answering.") from error

    def close(self):
        pass


CHANNELS: dict[str, Callable[[Browser], _Channel]] = {
    "socket": _SocketChannel,
    "script": _ScriptChannel,
}


class Arena:
    """N lock-step games in one page of one browser.

    Args:
        num_games: how many games.
        headless: no window.
        channel: "socket" (fast) or "script" (one WebDriver round trip for each step).

    Raises:
        BrowserError: the browser cannot be started, or stops answering.
        PageError: the browser's game lacks what the bridge needs.
    """

    def __init__(self, num_games: int, headless: bool = True, channel: str = "socket"):
        self.num_games = num_games
        self.browser = Browser(headless)
        self._server: PageServer | None = None
        self._channel: _Channel | None = None
        try:
            self._server = PageServer(game_page(self.browser))
            self.browser.driver.get(self._server.url + "/game/arena.html")
            opened = self.browser.driver.execute_async_script(
                "DinoArena.open(arguments[0]).then(arguments[1], (e) => arguments[1](String(e)))",
                num_games,
            )
            if not isinstance(opened, dict):
                raise page_error(self.browser, str(opened))
            self.fields = tuple(opened["fields"])
            self.obstacles = tuple(opened["obstacles"])
            self._channel = CHANNELS[channel](self.browser)
        except BaseException:
            self.close()
            raise

    @property
    def _open_channel(self) -> _Channel:
        if self._channel is None:
            raise BrowserError("The arena is closed.")
        return self._channel

    def send(
        self,
        actions: Sequence[int] | np.ndarray | None = None,
        frames: int = 1,
        resets: dict[int, tuple[int, GameSettings | None]] | None = None,
        watched: dict | None = None,
    ):
        """Start a step without waiting for it: reset some games, run `frames` frames in the others.

        Args:
            actions: one for each game (0 nothing, 1 jump, 2 duck); None leaves all games where they are.
            frames: frames to run; a game stops at its crash.
            resets: {game: (seed, settings)}; these games restart and do not move. Without settings, a game
                goes back to a moment before its end, if it is rewindable.
            watched: {game, values, action, title}: shown to a person, with that game's new picture.
        """
        self._open_channel.send(
            {
                "actions": None if actions is None else [int(a) for a in actions],
                "frames": frames,
                "watched": watched,
                "resets": [
                    {"game": int(game), "seed": int(seed), "settings": settings and settings.for_page()}
                    for game, (seed, settings) in (resets or {}).items()
                ],
            }
        )

    def receive(self) -> Observation:
        """Wait for the step that `send` started."""
        return Observation.from_bytes(self._open_channel.receive(), self.num_games, self.fields)

    def step(self, *arguments, **named) -> Observation:
        """`send`, then `receive`."""
        self.send(*arguments, **named)
        return self.receive()

    def canvas(self, game: int = 0) -> np.ndarray:
        """The whole canvas of one game on white, uint8 [150, W, 3]."""
        return decode_png(self.browser.driver.execute_script(f"return DinoArena.png({int(game)})"))

    def numbers(self, game: int = 0) -> dict[str, float]:
        """Every number in the state of one game, by its path in the page's objects."""
        return self.browser.driver.execute_script(f"return DinoArena.numbers({int(game)})")

    @property
    def memory_mb(self) -> float:
        """As `Browser.memory_mb`."""
        return self.browser.memory_mb

    def close(self):
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            self._server.close()
        self.browser.close()

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_):
        self.close()


class Arenas:
    """Games spread evenly over several browsers, whose pages run on several cores. Used as one `Arena`.

    Args:
        num_games: how many games in all, at least one for each browser.
        browsers: how many browsers.
        headless: no windows.

    Raises:
        BrowserError, PageError: as for `Arena`.
    """

    def __init__(self, num_games: int, browsers: int, headless: bool = True):
        self.num_games = num_games
        self._arenas: list[Arena] = []
        self._games = [
            range(part[0], part[-1] + 1) for part in np.array_split(np.arange(num_games), browsers)
        ]
        try:
            for games in self._games:
                self._arenas.append(Arena(len(games), headless))
        except BaseException:
            self.close()
            raise

    @property
    def browser(self) -> Browser:
        """The first of them."""
        return self._arenas[0].browser

    def send(
        self,
        actions: Sequence[int] | np.ndarray | None = None,
        frames: int = 1,
        resets: dict[int, tuple[int, GameSettings | None]] | None = None,
        watched: dict | None = None,
    ):
        """As `Arena.send`: all pages begin to run."""
        for arena, games in zip(self._arenas, self._games, strict=True):
            here = None
            if watched and watched["game"] in games:
                here = {**watched, "game": watched["game"] - games.start}
            arena.send(
                None if actions is None else actions[games.start : games.stop],
                frames,
                {game - games.start: reset for game, reset in (resets or {}).items() if game in games},
                here,
            )

    def receive(self) -> Observation:
        """Wait for all of them."""
        parts = [arena.receive() for arena in self._arenas]
        return Observation(
            np.concatenate([part.pictures for part in parts]),
            np.concatenate([part.states for part in parts]),
            parts[0].fields,
        )

    def step(self, *arguments, **named) -> Observation:
        """`send`, then `receive`."""
        self.send(*arguments, **named)
        return self.receive()

    def canvas(self, game: int = 0) -> np.ndarray:
        """As `Arena.canvas`."""
        for arena, games in zip(self._arenas, self._games, strict=True):
            if game in games:
                return arena.canvas(game - games.start)
        raise IndexError(game)

    @property
    def memory_mb(self) -> float:
        """Of all of them."""
        return sum(arena.memory_mb for arena in self._arenas)

    def close(self):
        for arena in self._arenas:
            arena.close()
