"""Whether anything grows while games are played for long: memory, descriptors, threads, processes, files.

    python bench/soak.py --steps 5000000                   # random play of 32 games
    python bench/soak.py --run --minutes 180               # a training run in a process of its own

Prints a row now and then, and at the end the growth from the first half to the second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

COLUMNS = ("steps", "minutes", "python MB", "browser MB", "descriptors", "threads", "processes", "files")
WIDTH = 12


def measure(process: psutil.Process, files_in: Path, steps: float, started: float) -> list[float]:
    """A row of the table.

    Args:
        process: whose descriptors and threads count; its children are the browser, and what guards it.
        files_in: directory whose files are counted.
        steps: environment steps so far.
        started: when that was, on the monotonic clock.
    """
    children, memory = process.children(recursive=True), 0
    for child in children:
        with suppress(psutil.Error):
            memory += child.memory_full_info().uss
    files = sum(1 for path in files_in.rglob("*") if path.is_file())
    # Without the libraries' files: how much of them is the process's own depends on what else runs.
    memory_info = process.memory_info()
    own = memory_info.rss - memory_info.shared
    return [
        *(steps, (time.monotonic() - started) / 60, own / 1e6, memory / 1e6),
        *(process.num_fds(), process.num_threads(), len(children), files),
    ]


def play(num_envs: int, total: int, every: int, files_in: Path) -> Iterator[list[float]]:
    """Random play, measured every so many steps."""
    from dino_rl.envs import DinoVectorEnv

    rng, started, me, due = np.random.default_rng(0), time.monotonic(), psutil.Process(), every
    env = DinoVectorEnv(num_envs)
    env.reset(seed=0)
    for steps in range(num_envs, total + num_envs, num_envs):
        env.step(rng.integers(3, size=num_envs))
        if steps >= due:
            due += every
            yield measure(me, files_in, steps, started)
    env.close()


def train(minutes: float, every_s: float, files_in: Path, run_dir: Path) -> Iterator[list[float]]:
    """A training run, measured every so many seconds."""
    from dino_rl.runs.csv_log import read_table

    command = (str(ROOT / "run_dino.py"), "train", "--minutes", str(minutes), "--run-dir", str(run_dir))
    started = time.monotonic()
    environment = {**os.environ, "TMPDIR": str(files_in)}
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(every_s)
            break
        steps = read_table(run_dir / "intervals.csv").get("step", [0])[-1]
        with suppress(psutil.Error):  # it ends
            yield measure(watched, files_in, steps, started)
    if process.wait():
        sys.exit(f"The run ended with code {process.returncode}.")


def main():
    """Play or train, and print what is used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5_000_000, help="of random play (default: %(default)s)")
    parser.add_argument(
        "--num-envs", type=int, default=32, help="games of random play (default: %(default)s)"
    )
    parser.add_argument("--run", action="store_true", help="train instead")
    parser.add_argument("--minutes", type=float, default=180, help="of training (default: %(default)s)")
    parser.add_argument("--run-dir", type=Path, help="of training (default: a temporary one)")
    parser.add_argument("--rows", type=int, default=20, help="of the table (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        temporary = Path(directory) / "t"  # whose path a browser's socket must fit below
        temporary.mkdir()
        tempfile.tempdir = str(temporary)
        if options.run:
            every_s = 60 * options.minutes / options.rows
            rows = train(options.minutes, every_s, temporary, options.run_dir or Path(directory) / "run")
        else:
            rows = play(options.num_envs, options.steps, options.steps // options.rows, temporary)
        print("".join(name.rjust(WIDTH) for name in COLUMNS), flush=True)
        seen = []
        for row in rows:
            seen.append(row)
            texts = (f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in row)
            print("".join(text.rjust(WIDTH) for text in texts), flush=True)
    halves = np.array_split(np.array(seen, float)[1:], 2)  # the first row is of the start
    for i, name in enumerate(COLUMNS[2:], start=2):
        first, second = (float(half[:, i].mean()) for half in halves)
        print(f"{name}: {first:,.1f} in the first half, {second:,.1f} in the second")


if __name__ == "__main__":
    main()
