"""What the dashboard costs a training run in steps per second.

One run, cut into segments of some seconds, in cycles: without a dashboard, with one that nobody watches,
with a viewer on another machine (here a process that only reads), and, with --browser, with headless Chromium
on this machine. Segments of one cycle are compared with each other, so that a machine that becomes slower or
faster changes all of them. The order within a cycle is random. Steps per second vary by more than what is to
be measured, so there are two columns of processor time, which other work on the machine changes less: that of
the trainer and its games for a step, and that of the server's thread. (Saliency maps are computed in another
thread, for one percent of the time.)

python bench/dashboard_cost.py --cycles 20
python bench/dashboard_cost.py --cycles 20 --browser
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dino_rl import recipe
from dino_rl.browser.chrome import Browser
from dino_rl.dashboard.about import about_training
from dino_rl.dashboard.board import Board
from dino_rl.dashboard.server import DashboardServer
from dino_rl.dashboard.show_run import ShowRun
from dino_rl.envs.registry import make_task
from dino_rl.experiment import make_run
from dino_rl.training.algorithm import Slice
from dino_rl.training.rollout import confidence_interval
from dino_rl.training.run import Callback, Run

SETTLE_S = 3.0  # at the start of a segment, not measured
WARM_UP_UPDATES = 200  # the first ones compile
NONE, UNSEEN, READER, BROWSER = "no dashboard", "no viewer", "a viewer elsewhere", "Chromium on this machine"
READ = """
import sys, websocket
url = sys.argv[1]
origin = url.rsplit("/", 2)[0]
socket = websocket.create_connection(url.replace("http", "ws", 1) + "socket", origin=origin)
socket.send('{"game": 15}')
while socket.recv(): pass
"""


class Segments(Callback):
    """Switches viewers on and off, and measures the steps per second in between."""

    def __init__(self, show: ShowRun, server: DashboardServer, options: argparse.Namespace):
        self._show = show
        self._url = server.url
        self._clock = time.pthread_getcpuclockid(server._thread.ident or 0)
        self._options = options
        self._conditions = [NONE, UNSEEN, READER] + [BROWSER] * options.browser
        self._rng = np.random.default_rng(0)
        self._waiting: list[str] = []
        self._condition = ""
        self._measured_from: np.ndarray | None = None
        self._ends_s = 0.0
        self._reader: subprocess.Popen | None = None
        self._browser = Browser() if options.browser else None
        self.rates: dict[str, list[float]] = {condition: [] for condition in self._conditions}
        self.costs: dict[str, list[float]] = {condition: [] for condition in self._conditions}
        self.shares: dict[str, list[float]] = {condition: [] for condition in self._conditions}

    def on_slice(self, run: Run, part: Slice) -> None:
        if run.algorithm.updates < WARM_UP_UPDATES:
            return
        now = time.monotonic()
        if self._measured_from is None and now >= self._ends_s - self._options.seconds:
            self._measured_from = self._measure(run)
        if now < self._ends_s:
            return
        if self._condition and self._measured_from is not None:
            seconds, steps, server, all_of_it = self._measure(run) - self._measured_from
            self.rates[self._condition].append(steps / seconds)
            self.costs[self._condition].append(all_of_it / steps)
            self.shares[self._condition].append(server / seconds)
        if not self._waiting:
            if len(self.rates[NONE]) == self._options.cycles:
                run.stopped = True
                return
            self._waiting = self._rng.permutation(self._conditions).tolist()
        self._switch(run, self._waiting.pop())
        self._ends_s = time.monotonic() + SETTLE_S + self._options.seconds
        self._measured_from = None

    def _measure(self, run: Run) -> np.ndarray:
        """Time, steps, processor time of the server's thread, and of trainer and games; in seconds."""
        viewers = {each.pid for each in (self._reader, self._browser) if each}
        all_of_it = time.process_time()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if not viewers & {process.pid, *(parent.pid for parent in process.parents())}:
                    all_of_it += sum(process.cpu_times()[:2])
        return np.array([time.monotonic(), run.step, time.clock_gettime(self._clock), all_of_it])

    def _switch(self, run: Any, condition: str):
        self.close_viewers()
        self._condition = condition
        run.callbacks = [each for each in run.callbacks if each is not self._show]
        listeners = run.algorithm.on_decision
        listeners[:] = [each for each in listeners if each != self._show._show]
        if condition != NONE:
            run.callbacks.append(self._show)
            listeners.append(self._show._show)
        if condition == READER:
            self._reader = subprocess.Popen([sys.executable, "-c", READ, self._url])
        if condition == BROWSER and self._browser:
            self._browser.open(self._url)

    def close_viewers(self):
        """Nobody watches from now on."""
        if self._reader:
            self._reader.kill()
            self._reader.wait()
            self._reader = None
        if self._browser:
            self._browser.open("about:blank")

    def close(self) -> None:
        self.close_viewers()
        if self._browser:
            self._browser.close()


def with_interval(ratios: np.ndarray) -> str:
    """Their mean and its 95 % confidence interval."""
    low, high = confidence_interval(ratios)
    return f"{ratios.mean():.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured seconds of a segment")
    parser.add_argument("--browser", action="store_true", help="watch with headless Chromium here, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = ["run.validations=0", "run.checkpoint_minutes=1000", *options.set]
    config = recipe.choose(run={"minutes": 600.0, "seed": 1}, overrides=overrides)
    task = make_task(config.env)
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory)
        board = Board(about_training(config, task, run_dir, "bench/dashboard_cost.py"), task)
        with closing(DashboardServer(board)) as server:
            show = ShowRun(board, server, run_dir)
            segments = Segments(show, server, options)
            with make_run(config, run_dir, [show, segments], pictures=True) as run:
                run.run()
    base, base_cost = np.array(segments.rates[NONE]), np.array(segments.costs[NONE])
    print(
        "| condition | steps/s | ratio to no dashboard | processor time of a step, ratio | server's thread |"
    )
    print("|---|---|---|---|---|")
    for condition, rates in segments.rates.items():
        share = np.mean(segments.shares[condition])
        speed, cost = map(with_interval, (rates / base, segments.costs[condition] / base_cost))
        print(f"| {condition} | {np.mean(rates):,.0f} | {speed} | {cost} | {share:.2%} of a core |")
    print(f"\n{len(base)} cycles of {options.seconds:.0f} s segments")


if __name__ == "__main__":
    main()
