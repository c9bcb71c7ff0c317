"""What TensorBoard's log costs a run: the time that it takes, as a share of the run.

python bench/tracking_cost.py --minutes 5
python bench/tracking_cost.py --env CartPole-v1 --steps 100000
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dino_rl import recipe
from dino_rl.experiment import make_run
from dino_rl.training.clips import LastFrames
from dino_rl.training.tracking import Track

EVENTS = (
    "on_start",
    "_keep",
    "on_slice",
    "on_episode",
    "on_interval",
    "on_iteration",
    "on_validation",
    "close",
)

seconds: Counter[str] = Counter()
calls: Counter[str] = Counter()


def timed(name: str, method: Callable) -> Callable:
    """A method of `Track`, with its time counted."""

    def call(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*arguments)
        finally:
            seconds[name] += time.perf_counter() - started
            calls[name] += 1

    return call


def timed_step(method: Callable) -> Callable:
    """`LastFrames.step`, with the time counted that it adds to the step of its environment. CPU time, because
    validation games play in two threads."""

    def call(self: LastFrames, actions: Any) -> Any:
        step, inside = self.env.step, 0.0

        def inner(inner_actions: Any) -> Any:
            nonlocal inside
            started = time.thread_time()
            result = step(inner_actions)
            inside = time.thread_time() - started
            return result

        self.env.step = inner  # type: ignore[method-assign]
        started = time.thread_time()
        try:
            return method(self, actions)
        finally:
            seconds["frames of validation games"] += time.thread_time() - started - inside
            calls["frames of validation games"] += 1
            del self.env.step

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--env")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    for name in EVENTS:
        setattr(Track, name, timed(name, getattr(Track, name)))
    LastFrames.step = timed_step(LastFrames.step)  # type: ignore[method-assign]
    length = {"minutes": options.minutes, "steps": options.steps}
    config = recipe.choose(env=options.env, run=length)
    with tempfile.TemporaryDirectory() as directory:
        with make_run(config, Path(directory), command="bench/tracking_cost.py") as run:
            run.run()
        (path,) = Path(directory).glob("events.out.tfevents.*")
        megabytes = path.stat().st_size / 1e6
    print("| what | calls | seconds | share of the run |\n|---|---|---|---|")
    for name, spent in seconds.most_common():
        print(f"| {name} | {calls[name]:,} | {spent:.3f} | {spent / run.seconds:.3%} |")
    print(f"| all | | {seconds.total():.3f} | {seconds.total() / run.seconds:.3%} |")
    print(f"\n{run.step:,} steps in {run.seconds:.0f} s; the file has {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
