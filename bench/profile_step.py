"""The time of each part of an environment step: four frames of 16 games.

    python bench/profile_step.py --seconds 5

The table includes the slower parts that the fast path replaces: reading back a canvas, a PNG that is decoded
and scaled in Python, and a round trip through the driver.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from dino_rl.browser import Arena
from dino_rl.browser.frames import decode_png, to_frame
from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs import DinoVectorEnv

GAMES = 16
FRAMES = 4
SETTINGS = GameSettings(start_speed=9.0, clear_time_ms=300.0)

# Parts of a step in the page, and their code for one game.
PARTS = {
    "the game itself: 4 frames, drawn as a list": "bridge.step(0, 4)",
    "agent frame from the list of draws": "agentFrame.fromDraws(bridge.draws(), out, 0)",
    "agent frame from the canvas, painted and read back": "agentFrame.fromCanvas(bridge.canvas(), out, 0)",
    "the canvas as a PNG": "bridge.png()",
    "state": "bridge.state(numbers, 0)",
}
IN_PAGE = """
    const [resets, settings, seconds] = arguments;
    const bridges = [...document.querySelectorAll("iframe")].map((frame) => frame.contentWindow.DinoBridge);
    const { width, height } = bridges[0].runner().canvas;
    const agentFrame = new DinoAgentFrame(width, height);
    const out = new Uint8Array(DinoAgentFrame.BYTES);
    const numbers = new Float64Array(64);
    const part = (bridge) => { %s };
    let spent = 0, turns = 0;
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end) {
      bridges.forEach((bridge, i) => {
        if (bridge.runner().crashed) bridge.reset(resets + 97 * turns + i, settings);
      });
      const started = performance.now();
      bridges.forEach(part);
      spent += performance.now() - started;
      turns++;
      if (%d) bridges.forEach((bridge) => bridge.step(0, 4));
    }
    return spent / turns;"""


def in_page(arena: Arena, seconds: float) -> dict[str, float]:
    """Milliseconds of each of `PARTS`, for all games."""
    arena.step(resets={game: (game, SETTINGS) for game in range(GAMES)})
    return {
        name: arena.browser.driver.execute_script(
            IN_PAGE % (code, "bridge.step" not in code), 1000, SETTINGS.for_page(), seconds
        )
        for name, code in PARTS.items()
    }


def timed(work: Callable[[], object], seconds: float) -> float:
    """Milliseconds of one call: the median."""
    times, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return 1000 * float(np.median(times))


def outside(arena: Arena, seconds: float) -> dict[str, float]:
    """Milliseconds of the parts between the page and Python, for all games."""
    png = arena.browser.driver.execute_script("return DinoArena.png(0)")
    return {
        "round trip by WebSocket, states and frames of all games": timed(arena.step, seconds),
        "round trip through the driver, without data": timed(
            lambda: arena.browser.driver.execute_script("return 1"), seconds
        ),
        "PNGs decoded and scaled in Python": GAMES * timed(lambda: to_frame(decode_png(png)), seconds),
    }


def whole(seconds: float) -> float:
    """Milliseconds of a whole step of `DinoVectorEnv`."""
    env = DinoVectorEnv(GAMES, game=SETTINGS, decision_interval_frames=FRAMES)
    try:
        env.reset(seed=0)
        nothing = np.zeros(GAMES, int)
        return timed(lambda: env.step(nothing), seconds)
    finally:
        env.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each part")
    options = parser.parse_args()
    with Arena(GAMES) as arena:
        parts = in_page(arena, options.seconds) | outside(arena, options.seconds)
    parts["a whole step of DinoVectorEnv"] = whole(options.seconds)
    table = Table("part of a four-frame step", f"ms for {GAMES} games", "us for one")
    for name, milliseconds in parts.items():
        table.add_row(name, f"{milliseconds:.2f}", f"{1000 * milliseconds / GAMES:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
