"""`--dashboard`, of the commands that have it."""

import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_rl.display import has_display
from dino_rl.errors import DinoError

if TYPE_CHECKING:
    from dino_rl.dashboard.board import Board
    from dino_rl.dashboard.server import DashboardServer
    from dino_rl.player import Player
    from dino_rl.train_config import TrainConfig
    from dino_rl.training.run import Callback


@contextmanager
def show_training(
    port: int | None, config: "TrainConfig", run_dir: Path, command: str, window: bool
) -> "Iterator[list[Callback]]":
    """The callbacks that show a run: one, or none without a port (0: a free one). `window` opens the
    page in the user's own browser.

    Raises:
        DinoError: there is no display for a window, or nothing can listen at the port.
    """
    if window and not has_display():
        raise DinoError(
            "There is no display for --watch: use --dashboard, which prints the address of a page."
        )
    if window and port is None:
        port = 0
    if port is None:
        yield []
        return
    from dino_rl.dashboard.about import about_training
    from dino_rl.dashboard.board import Board
    from dino_rl.dashboard.show_run import ShowRun
    from dino_rl.envs.registry import make_task

    task = make_task(config.env)
    board = Board(about_training(config, task, run_dir, command), task)
    with _serving(board, port) as server:
        if window:
            webbrowser.open(server.url)
        yield [ShowRun(board, server, run_dir)]


@contextmanager
def show_playing(
    port: int | None, kind: str, player: "Player", games: int, facts: dict[str, Any]
) -> "Iterator[Board | None]":
    """The board that shows games; None without a port (0: a free one).

    Args:
        port, kind, games, facts: as of `about_playing`.
        player: plays them.
    """
    if port is None:
        yield None
        return
    from dino_rl.dashboard.about import about_playing
    from dino_rl.dashboard.board import Board

    about = about_playing(kind, player.config, player.task, games, {"model": player.path, **facts})
    board = Board(about, player.task, player.values)
    with _serving(board, port):
        try:
            yield board
        finally:
            board.over = "No more games are played."


@contextmanager
def _serving(board: "Board", port: int) -> "Iterator[DashboardServer]":
    from dino_rl.dashboard.server import DashboardServer
    from dino_rl.terminal import console

    with closing(DashboardServer(board, port)) as server:
        console.print(f"Dashboard: {server.url}")
        yield server
