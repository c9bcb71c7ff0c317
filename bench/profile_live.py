"""The time of each part of a live decision, from the drawn frame to the key event that the page received.

    python bench/profile_live.py --decisions 5000 --url chrome://dino

The offset between Python's clock and the page's is measured first, by the fastest of many round trips.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from dino_rl.agents.dqn import DQN
from dino_rl.backend import use_one_thread
from dino_rl.benchmark.speed import RECIPE, live_figures, play_live
from dino_rl.browser import Game
from dino_rl.browser.page import URL
from dino_rl.envs.registry import make_task

# The page's times: a frame is ready to be sent, the browser made a key event, the page received it.
WATCH = """
    window.stages = {ready: [], made: [], received: []};
    const observe = DinoBridge.observe;
    DinoBridge.observe = (...rest) => observe(...rest).then((answer) => {
      stages.ready.push(performance.now());
      return answer;
    });
    for (const type of ["keydown", "keyup"]) {
      document.addEventListener(type, (event) => {
        stages.made.push(event.timeStamp);
        stages.received.push(performance.now());
      }, true);
    }"""
ROUND_TRIPS = 300


class Stopwatch:
    """Logs when a frame came from the page, when the network returned its values, and when a key was sent.

    Args:
        game: a live game.
        dqn: decides in it.

    Attributes:
        log: events and their times, in milliseconds of the page's clock.
    """

    def __init__(self, game: Game, dqn: DQN):
        devtools: Any = game._devtools
        self._offset = min(self._round_trip(devtools.evaluate) for _ in range(ROUND_TRIPS))[1]
        self.log: list[tuple[str, float]] = []
        devtools.evaluate = self._then(devtools.evaluate, "frame")
        dqn.q_values = self._then(dqn.q_values, "values")  # type: ignore[method-assign]
        devtools.post = self._first(devtools.post, "key", "Input.dispatchKeyEvent")

    @staticmethod
    def _round_trip(evaluate) -> tuple[float, float]:
        """Its duration, and how far Python's clock is ahead of the page's, in milliseconds."""
        before = time.monotonic()
        page = evaluate("performance.now()")
        after = time.monotonic()
        return 1000 * (after - before), 500 * (before + after) - page

    def _note(self, event: str):
        self.log.append((event, 1000 * time.monotonic() - self._offset))

    def _then(self, call, event: str):
        def noted(*arguments):
            result = call(*arguments)
            self._note(event)
            return result

        return noted

    def _first(self, call, event: str, command: str):
        def noted(asked, arguments):
            if asked == command:
                self._note(event)
            return call(asked, arguments)

        return noted


def stages(log: list[tuple[str, float]], page: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Milliseconds of each stage of each decision: a frame, its values, a key."""
    rows = []
    frames = keys = 0
    for at, (event, _) in enumerate(log):
        names, times = zip(*log[max(0, at - 2) : at + 1], strict=True)
        if names == ("frame", "values", "key"):
            rows.append((page["ready"][frames - 1], *times[:2], page["made"][keys], page["received"][keys]))
        frames += event == "frame"
        keys += event == "key"
    between = np.diff(np.array(rows), axis=1)
    return {
        "page to Python": between[:, 0],
        "decoding, stacking, network": between[:, 1],
        "Python to browser": between[:, 2],
        "browser to page": between[:, 3],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=1_000)
    parser.add_argument("--url", choices=(URL,), help="play on the unmodified page")
    options = parser.parse_args()
    use_one_thread()
    assert RECIPE.dqn is not None
    dqn = DQN(RECIPE.dqn, make_task(RECIPE.env).spec.observation, 3)
    with Game("live", options.url) as game:
        game.browser.driver.execute_script(WATCH)
        stopwatch = Stopwatch(game, dqn)
        delays = play_live(game, dqn, options.decisions)
        page = game.browser.driver.execute_script("return stages")
    parts = {name: part[-options.decisions :] for name, part in stages(stopwatch.log, page).items()}
    parts = {"frame drawn to frame ready": delays.milliseconds - sum(parts.values()), **parts}
    table = Table("part of a live decision, ms", "median", "mean", "99 %")
    for name, part in {**parts, "all": delays.milliseconds}.items():
        table.add_row(
            name, *(f"{value:.2f}" for value in (np.median(part), part.mean(), np.percentile(part, 99)))
        )
    console = Console()
    console.print(table)
    for figure in live_figures(delays):
        console.print(f"{figure.name}: {figure.value:.2f} {figure.unit}")


if __name__ == "__main__":
    main()
