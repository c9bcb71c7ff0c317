"""Games of the exported player on untouched chrome://dino: scores, time of a decision, frames per second.

    python run_dino.py export --to /tmp/player.js
    python bench/in_page.py /tmp/player.js --games 20 --max-score 5000
    python bench/in_page.py /tmp/player.js --games 20 --max-score 5000 --busy 1     # beside a busy core
    python bench/in_page.py /tmp/player.js --games 20 --simulated-hz 144            # not in real time

The file is evaluated through the developer tools' protocol, as if a person had pasted it into the console.
From then on it plays by itself. This script reads the score a few times a second, and ends a game that
reaches the cap.
"""

import argparse
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from dino_rl.browser.in_page import PlayerPage
from dino_rl.export.in_page import timing_of

POLL_S = 0.25  # the player waits for 1.5 s before it starts the next game
SIMULATED_FRAMES = 200  # between two looks at the score
CRASHED = "Runner.getInstance().crashed"
SCORE = "Math.round(Math.ceil(Runner.getInstance().distanceRan) * 0.025)"
console = Console(highlight=False, soft_wrap=True)


def spin():
    """Keep a core busy."""
    while True:
        pass


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other work beside the games: processes that compute without pause."""
    running = [multiprocessing.Process(target=spin, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.join()


def play(page: PlayerPage, max_score: int, simulated: bool) -> tuple[int, bool]:
    """Score of the running game, and whether it reached the cap."""
    best = 0
    while True:
        if simulated:
            page.simulate(SIMULATED_FRAMES, until=f"{CRASHED} || {SCORE} >= {max_score}")
        else:
            time.sleep(POLL_S)
        state = page.state()
        if state["score"] < best:  # the crash was between two looks
            return best, False
        best = state["score"]
        if state["crashed"] or best >= max_score:
            return best, not state["crashed"]


def next_game(page: PlayerPage, simulated: bool):
    """End the game, and wait until the player has started another."""
    page.evaluate(f"{CRASHED} || Runner.getInstance().gameOver()")
    started = f"!{CRASHED}"
    deadline = time.monotonic() + 30
    while not page.evaluate(started):
        if time.monotonic() > deadline:
            raise SystemExit("The player started no new game within 30 s.")
        if simulated:
            page.simulate(SIMULATED_FRAMES, until=started)
        else:
            time.sleep(POLL_S)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="made by `export --to FILE.js`")
    parser.add_argument("--games", type=int, default=20)
    parser.add_argument("--max-score", type=int, default=5_000, help="end a game at this score")
    parser.add_argument("--window", action="store_true", help="in a window; needs a display")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes that keep cores busy")
    parser.add_argument(
        "--real-time", action="store_true", help="schedule the browser in real time, as `play` does"
    )
    parser.add_argument("--no-panel", action="store_true", help="switch the player's panel off")
    parser.add_argument("--pixel-ratio", type=float, default=1.0, help="display pixels per CSS pixel")
    parser.add_argument("--width", type=int, default=800, help="of the page, in CSS pixels")
    parser.add_argument("--dark", action="store_true", help="dark colour scheme")
    parser.add_argument("--simulated-hz", type=float, help="a simulated display, as fast as it can")
    parser.add_argument(
        "--skip-share", type=float, default=0.0, metavar="P", help="of the simulated frames, skipped"
    )
    parser.add_argument(
        "--late-ms", type=float, default=0.0, metavar="MS", help="mean delay of the simulated frames"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulated games")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    simulated = options.simulated_hz is not None
    display = {
        "headless": not options.window,
        "size": (options.width, 600),
        "pixel_ratio": options.pixel_ratio,
        "dark": options.dark,
        "simulated_hz": options.simulated_hz,
        "skip_share": options.skip_share,
        "late_ms": options.late_ms,
        "seed": options.seed,
        "real_time": options.real_time,
    }
    games, timings = [], []
    with PlayerPage(**display) as page, busy(options.busy):
        page.evaluate(options.file.read_text(encoding="utf-8"))
        if options.no_panel:
            page.evaluate("dinoPlayer.showPanel(false)")
        if simulated:
            finish_intro(page)
        for number in range(1, options.games + 1):
            started = time.monotonic()
            score, capped = play(page, options.max_score, simulated)
            timing = timing_of(page.evaluate("dinoPlayer.takeMeasurements()"))
            games.append({"score": score, "capped": capped, "seconds": time.monotonic() - started})
            timings.append(timing)
            speed = "" if simulated else timing_line(timing)
            console.print(f"game {number}: {score:,}{' (cap)' if capped else ''}   {speed}")
            if number < options.games:
                next_game(page, simulated)
        name = page.browser.name
    scores = np.array([game["score"] for game in games])
    capped = sum(game["capped"] for game in games)
    console.print(
        f"{name}, {len(games)} games, cap {options.max_score:,}: mean {scores.mean():,.0f}, "
        f"median {np.median(scores):,.0f}, min {scores.min():,}, {capped} reached the cap"
    )
    if options.json:
        options.json.write_text(json.dumps({"browser": name, "games": games, "timings": timings}, indent=2))


def finish_intro(page: PlayerPage):
    """The intro of the first game is a CSS animation in real time: simulate no faster than that."""
    running = "Runner.getInstance().activated && !Runner.getInstance().playingIntro"
    deadline = time.monotonic() + 30
    while not page.evaluate(running):
        if time.monotonic() > deadline:
            raise SystemExit("The player started no game within 30 s.")
        page.simulate(2)
        time.sleep(0.03)


def timing_line(timing: dict) -> str:
    """One line for the terminal."""
    return (
        f"decision {timing['median_ms']:.1f} ms (99 %: {timing['p99_ms']:.1f} ms), "
        f"{timing['late_decisions']:.3%} late, {timing['frames_per_second']:.1f} frames/s"
    )


if __name__ == "__main__":
    main()
