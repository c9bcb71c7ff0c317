"""Where the milliseconds of a live decision go, from the frame drawn to the key event received.

    python bench/profile_live.py --decisions 5000 --url chrome://dino

Python's clock is set against the page's before the start, by the quickest of many round trips.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from dino_rl.agents.dqn import DQN
from dino_rl.backend import share_cores
from dino_rl.benchmark import STACK, live_figures, play_live
from dino_rl.browser import Game
from dino_rl.browser.page import URL
from dino_rl.settings import DQNSettings

# When a picture was ready to leave, when the browser made a key event, and when the page got it.
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
    """Notes when a picture came from the page, when the network had its values, when a key was sent."""

    def __init__(self, game: Game, agent: DQN):
        line = game._line
        self._offset = min(self._round_trip(line.evaluate) for _ in range(ROUND_TRIPS))[1]
        self.log: list[tuple[str, float]] = []
        line.evaluate = self._then(line.evaluate, "picture")
        agent.q_values = self._then(agent.q_values, "values")
        line.post = self._first(line.post, "key", "Input.dispatchKeyEvent")

    @staticmethod
    def _round_trip(evaluate) -> tuple[float, float]:
        """How long it took, and how far Python's clock is ahead of the page's, in milliseconds."""
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
    """Milliseconds of each stage of each decision: a picture, its values, a key."""
    rows = []
    pictures = keys = 0
    for at, (event, _) in enumerate(log):
        names, times = zip(*log[max(0, at - 2) : at + 1], strict=True)
        if names == ("picture", "values", "key"):
            rows.append((page["ready"][pictures - 1], *times[:2], page["made"][keys], page["received"][keys]))
        pictures += event == "picture"
        keys += event == "key"
    between = np.diff(np.array(rows), axis=1)
    return {
        "page to Python": between[:, 0],
        "decoded, stacked, network": between[:, 1],
        "Python to browser": between[:, 2],
        "browser to page": between[:, 3],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=1_000)
    parser.add_argument("--url", choices=(URL,), help="play on the untouched page")
    options = parser.parse_args()
    share_cores()
    agent = DQN(DQNSettings(), STACK, 3)
    with Game("live", options.url) as game:
        game.browser.driver.execute_script(WATCH)
        stopwatch = Stopwatch(game, agent)
        delays = play_live(game, agent, options.decisions)
        page = game.browser.driver.execute_script("return stages")
    parts = {name: part[-options.decisions :] for name, part in stages(stopwatch.log, page).items()}
    parts = {"drawn, to picture ready": delays.milliseconds - sum(parts.values()), **parts}
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
