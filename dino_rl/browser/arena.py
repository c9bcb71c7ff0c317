"""Many lock-step games in one page, one answer for all."""

from collections.abc import Sequence

import numpy as np

from dino_rl.browser.channels import CHANNELS, Channel
from dino_rl.browser.chrome import CLOSED, WINDOW_SIZE, Browser
from dino_rl.browser.frames import decode_png
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.observation import Observation
from dino_rl.browser.page import check_whole, game_page, page_error
from dino_rl.browser.server import PageServer
from dino_rl.errors import BrowserError

SEEN_SIZE = (820, 760)  # of a window with its frame and bars, so that all of the page is seen


class Arena:
    """N lock-step games in one page of one browser.

    Args:
        num_games: number of games.
        headless: no window.
        channel: "socket" (fast) or "script" (one WebDriver round trip for each step).

    Raises:
        BrowserError: the browser cannot be started, stopped answering, or is closed.
        PageError: the browser's game lacks something that the bridge needs.

    Attributes:
        sheets: the images that the games are drawn from, as data URLs.
    """

    def __init__(self, num_games: int, headless: bool = True, channel: str = "socket"):
        self.num_games = num_games
        self._visible = not headless
        self.browser = Browser(headless, WINDOW_SIZE if headless else SEEN_SIZE)
        self._server: PageServer | None = None
        self._channel: Channel | None = None
        try:
            self._server = PageServer(game_page(self.browser))
            self.browser.open(self._server.url + "/game/arena.html")
            opened = self.browser.resolve("DinoArena.open(arguments[0])", num_games)
            check_whole(self.browser)
            if not isinstance(opened, dict):
                raise page_error(self.browser, str(opened))
            self.fields = tuple(opened["fields"])
            self.obstacles = tuple(opened["obstacles"])
            self.sheets = tuple(opened["sheets"])
            self._channel = CHANNELS[channel](self.browser, self._server.origin)
        except BaseException:
            self.close()
            raise

    @property
    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise BrowserError(CLOSED)
        return self._channel

    def send(
        self,
        actions: Sequence[int] | np.ndarray | None = None,
        frames: int = 1,
        resets: dict[int, tuple[int, GameSettings | None]] | None = None,
        draws: bool = False,
    ):
        """Start a step without waiting for it: reset some games, run `frames` frames of the others.

        Args:
            actions: one for each game (0 nothing, 1 jump, 2 duck); None: no game moves.
            frames: frames to run. A game stops when it crashes.
            resets: {game: (seed, settings)}; these games restart and do not move. Without settings, a
                rewindable game returns to a moment before its end.
            draws: have `Observation.draws`, too.
        """
        channel = self._open_channel
        self.browser.check()
        channel.send(
            {
                "actions": None if actions is None else [int(a) for a in actions],
                "frames": frames,
                "paint": self._visible,
                "draws": draws,
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
        return decode_png(self.browser.script(f"return DinoArena.png({int(game)})"))

    def canvases(self) -> list[np.ndarray]:
        """The canvas of every game, as `canvas`, in one request."""
        return [decode_png(png) for png in self.browser.script("return DinoArena.pngs()")]

    def label(self, labels: Sequence[Sequence[str]]):
        """Show the games one above the other, in windows only, and beside each a title and two lines."""
        if self._visible:
            self.browser.script("DinoArena.label(arguments[0])", [list(lines) for lines in labels])

    def state_numbers(self, game: int = 0) -> dict[str, float]:
        """Every number in the state of one game, by its path in the page's objects."""
        return self.browser.script(f"return DinoArena.stateNumbers({int(game)})")

    @property
    def memory_mb(self) -> float:
        """As `Browser.memory_mb`."""
        return self.browser.memory_mb

    def close(self):
        """Stop the browser. A second call has no effect."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._server is not None:
            self._server.close()
        self.browser.close()

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, *_):
        self.close()


class Arenas:
    """Games spread evenly over several browsers, which run on several cores. Has the interface of `Arena`.

    Args:
        num_games: number of games in all, at least one for each browser.
        browsers: number of browsers.
        headless: no windows.

    Raises:
        BrowserError, PageError: as `Arena`.
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
        """The first browser."""
        return self._arenas[0].browser

    @property
    def sheets(self) -> tuple[str, ...]:
        """As `Arena.sheets`: the same in all browsers."""
        return self._arenas[0].sheets

    def send(
        self,
        actions: Sequence[int] | np.ndarray | None = None,
        frames: int = 1,
        resets: dict[int, tuple[int, GameSettings | None]] | None = None,
        draws: bool = False,
    ):
        """As `Arena.send`, in all pages at once."""
        for arena, games in zip(self._arenas, self._games, strict=True):
            arena.send(
                None if actions is None else actions[games.start : games.stop],
                frames,
                {game - games.start: reset for game, reset in (resets or {}).items() if game in games},
                draws,
            )

    def receive(self) -> Observation:
        """Wait for all pages."""
        parts = [arena.receive() for arena in self._arenas]
        return Observation(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.states for part in parts]),
            parts[0].fields,
            b"".join(part.draws for part in parts),
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

    def canvases(self) -> list[np.ndarray]:
        """As `Arena.canvases`."""
        return [canvas for arena in self._arenas for canvas in arena.canvases()]

    @property
    def memory_mb(self) -> float:
        """Of all browsers."""
        return sum(arena.memory_mb for arena in self._arenas)

    def close(self):
        """As `Arena.close`."""
        for arena in self._arenas:
            arena.close()
