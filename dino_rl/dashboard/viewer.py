"""One viewer: what it asked to see, what it has been sent, and the message that brings it up to date."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dino_rl.dashboard.board import MAX_GAMES, Board, Moment, plain

NORMAL_FPS, FULL_FPS = 8.0, 30.0
ALIGNMENT = 8  # bytes: what a typed array of the page must begin at
MAX_GAME = 1_000_000


@dataclass(frozen=True)
class Attention:
    """A saliency map of one game, and what it was computed for."""

    game: int
    frame: np.ndarray
    """uint8 [H, W], the newest one of the observation."""
    map: np.ndarray
    """float32 [H, W]."""


class Viewer:
    """The view of one connection.

    Attributes:
        game: the one that is shown large.
        fps: pictures per second that it wants; 0 while it is paused.
        saliency: whether it wants the map.
    """

    def __init__(self) -> None:
        self.game = 0
        self.fps = NORMAL_FPS
        self.saliency = True
        self._numbers: dict[int, int] = {}  # of the moments that it has, by environment
        self._rows: dict[str, tuple[int, int]] = {}  # version and count of the tables that it has
        self._progress: dict[str, Any] | None = None
        self._ended = 0  # how many games it knows the end of
        self._attention: Attention | None = None
        self._has_sheets = False
        self._over = ""

    def ask(self, request: Any) -> None:
        """Take over what the page asks for.

        Raises:
            ValueError: it is nothing that the page sends.
        """
        match request:
            case {"game": int(game)} if 0 <= game < MAX_GAME:
                self.game = game
                self._numbers = {}
            case {"speed": "normal" | "full" | "paused" as speed}:
                self.fps = {"normal": NORMAL_FPS, "full": FULL_FPS, "paused": 0.0}[speed]
            case {"saliency": bool(on)}:
                self.saliency = on
            case _:
                raise ValueError("not a request of the page")

    def news(self, board: Board, attention: Mapping[int, Attention]) -> bytes | None:
        """A message with what this viewer lacks; None if it lacks nothing."""
        header: dict[str, Any] = {}
        blobs: dict[str, bytes] = {}
        if board.progress is not self._progress:
            header["progress"] = self._progress = board.progress
        tables = {}
        for table in board.tables:
            had = self._rows.get(table, (0, 0))
            version, count, rows = board.rows_after(table, *had)
            if (version, count) != had:
                self._rows[table] = version, count
                tables[table] = {"all": had == (0, 0) or version != had[0], "rows": rows}
        if tables:
            header["tables"] = tables
        if board.ended != self._ended:
            self._ended, header["ends"] = board.ended, board.ends()
        moments = dict(board.moments)
        numbers = {source: number for source, (number, _) in moments.items()}
        if self.fps and numbers != self._numbers:
            self._numbers = numbers
            moment_header, moment_blobs = self._games(
                board, [moment for _, (_, moment) in sorted(moments.items())]
            )
            header |= moment_header
            blobs |= moment_blobs
        seen = attention.get(self.game)
        if self.saliency and self.fps and seen is not None and seen is not self._attention:
            self._attention = seen
            peak = float(seen.map.max())
            header["saliency"] = {"shape": seen.frame.shape, "peak": peak, "game": seen.game}
            blobs["saliency"] = np.rint(seen.map * (255 / peak if peak else 0)).astype(np.uint8).tobytes()
            blobs["saliencyFrame"] = seen.frame.tobytes()
        if board.over != self._over:
            header["over"] = self._over = board.over
        return packed(header, blobs) if header else None

    def _games(self, board: Board, moments: list[Moment]) -> tuple[dict[str, Any], dict[str, bytes]]:
        """All games of all environments, and more of the one that is shown large."""
        header: dict[str, Any] = {}
        blobs: dict[str, bytes] = {}
        first = 0  # number of an environment's first game
        games: list[dict[str, Any]] = []
        sprites, frames = [], []
        for moment in moments:
            count = len(moment.actions)
            shown = np.arange(max(0, count - MAX_GAMES), count)
            scores = moment.infos.get("score")
            speeds, nights = moment.infos.get("speed"), moment.infos.get("night")
            for i in shown.tolist():
                game = {"game": first + i, "action": int(moment.actions[i]), "greedy": bool(moment.greedy[i])}
                game |= {} if scores is None else {"score": plain(scores[i])}
                game |= {} if speeds is None else {"speed": plain(speeds[i])}
                game |= {} if nights is None else {"night": bool(nights[i])}
                games.append(game)
            pictures = moment.pictures
            if pictures.sprites:
                sprites.append(last_games(pictures.sprites, count, len(shown)))
                if not self._has_sheets:
                    header["sheets"] = pictures.sheets
                    self._has_sheets = True
            elif moment.observations.ndim == 4:
                frames.append(np.ascontiguousarray(moment.observations[shown, ..., -1]))
            if pictures.png or pictures.image is not None:
                blobs["image"] = pictures.png or encoded(pictures.image)
                header["image"] = first + pictures.game
            if first <= self.game < first + count:
                self._large(board, moment, self.game - first, header, blobs)
            first += count
        if sprites:
            blobs["sprites"] = b"".join(sprites)
        elif frames:
            blobs["frames"] = b"".join(part.tobytes() for part in frames)
            header["frameShape"] = frames[0].shape[1:]
        header["games"] = games
        return header, blobs

    def _large(
        self, board: Board, moment: Moment, i: int, header: dict[str, Any], blobs: dict[str, bytes]
    ) -> None:
        observation = moment.observations[i]
        values = None if moment.values is None else moment.values[i]
        if values is None and board.values_of is not None:
            values = board.values_of(observation[None])[0]
        header["large"] = {"game": self.game, "values": plain(values), "action": int(moment.actions[i])}
        if observation.ndim == 3:
            header["stackShape"] = observation.shape
            blobs["stack"] = np.ascontiguousarray(np.moveaxis(observation, -1, 0)).tobytes()
        else:
            header["vector"] = plain(observation.ravel()[:64])


def last_games(sprites: bytes, count: int, shown: int) -> bytes:
    """The draws of the last `shown` of `count` games."""
    if shown == count:
        return sprites
    numbers = np.frombuffer(sprites, np.int16)
    at = 0
    for _ in range(count - shown):
        at += 1 + 8 * int(numbers[at])
    return numbers[at:].tobytes()


def encoded(image: np.ndarray | None) -> bytes:
    """A PNG file of an image, uint8 [H, W, 3]."""
    assert image is not None, "there is one"
    options = (cv2.IMWRITE_PNG_COMPRESSION, 1)
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def packed(header: dict[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """One binary message: the length of the header (uint32, little-endian), the header as JSON, and the
    blobs, each of which begins at a multiple of 8 bytes and is named in `header["blobs"]`."""
    places = {}
    at = 0
    for name, blob in blobs.items():
        places[name] = at, len(blob)
        at += _up(len(blob))
    text = json.dumps({**header, "blobs": places}, separators=(",", ":")).encode()
    text += b" " * (_up(4 + len(text)) - 4 - len(text))
    parts = [struct.pack("<I", len(text)), text]
    for blob in blobs.values():
        parts += [blob, b"\0" * (_up(len(blob)) - len(blob))]
    return b"".join(parts)


def _up(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
