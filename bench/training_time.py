"""What minutes of training give, for several seeds: runs, and test games of the best model and of the last.

    nohup python bench/training_time.py --minutes 2 5 15 --seeds 1 2 3 4 5 > training-time.log &
    python bench/training_time.py --steps 65000 --variants default bfloat16 "not double" --seeds 1 2 3

One run at a time, with the whole machine, as a user has it: leave the machine idle. Test games come after all
runs, two models at a time: neither their scores nor runs with `--steps` depend on how busy the machine is.
`--dir` has a directory for each run, and `results.json`. Finished runs and test games are not repeated, and
an interrupted run continues from its checkpoint. Test games are not those of validations: seed S plays from
1000 S on. The result is a table in Markdown.
"""

import argparse
import itertools
import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from dino_rl.envs.registry import make_task
from dino_rl.experiment import make_run, model_card
from dino_rl.recipe import choose
from dino_rl.runs import checkpoint
from dino_rl.runs.csv_log import read_table
from dino_rl.runs.model_file import BEST_MODEL
from dino_rl.runs.output import write_json
from dino_rl.train_config import TrainConfig
from dino_rl.training.callbacks import Callback, Checkpoints, Validation
from dino_rl.training.run import Run

ROOT = Path(__file__).resolve().parents[1]
GAMES, CAP = 50, 20_000
EVALUATIONS = 2  # at a time
VARIANTS: dict[str, tuple[str, list[str]]] = {  # preset, and changes in the form of --set
    "default": ("dino", []),
    "bfloat16": ("dino", ["dqn.precision=bfloat16"]),
    "not double": ("dino", ["dqn.double=false"]),
    "stack of 2": ("dino", ["env.stack_size=2"]),
    "fast": ("dino", ["dqn.precision=bfloat16", "dqn.double=false", "env.stack_size=2"]),
    "layer norm": ("dino", ["dqn.network.layer_norm=true"]),
    "average over 0.3": ("dino", ["dqn.average_share=0.3"]),
    "pqn": ("dino-pqn", []),
}


class KeepLast(Callback):
    """Saves the agent as it is at the end."""

    def __init__(self, config: TrainConfig, directory: Path):
        self._config = config
        self._directory = directory

    def on_end(self, run: Run) -> None:
        self._directory.mkdir(exist_ok=True)
        training = {"steps": run.step, "updates": run.algorithm.updates, "seed": run.config.seed}
        run.algorithm.save_model(
            self._directory / run.algorithm.model_file,
            model_card(self._config, make_task(self._config.env), training=training),
        )


def timed(owner: Any, method: str, seconds: dict[str, float], what: str) -> None:
    """Count the time of a method of an object."""
    original = getattr(owner, method)

    def measured(*args, **kwargs):
        started = time.monotonic()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[what] = seconds.get(what, 0.0) + time.monotonic() - started

    setattr(owner, method, measured)


def train(variant: str, length: dict[str, Any], seed: int, run_dir: Path) -> dict[str, Any]:
    """Train one agent, in a process of its own. Returns where its time went, in seconds."""
    started = time.monotonic()
    preset_name, overrides = VARIANTS[variant]
    config = choose(preset_name=preset_name, run={"seed": seed, **length}, overrides=overrides)
    resume = checkpoint.directory(run_dir).exists()
    seconds: dict[str, float] = {}
    keep = KeepLast(config, run_dir / "last")
    with make_run(config, run_dir, [keep], command=" ".join(sys.argv), resume=resume) as run:
        seconds["start"] = time.monotonic() - started
        timed(run.algorithm, "iterate", seconds, "training")
        for callback in run.callbacks:
            if isinstance(callback, Validation):
                timed(callback, "_validate", seconds, "validations")
            elif isinstance(callback, Checkpoints):
                timed(callback, "save", seconds, "checkpoints")
        run.run()
        seconds["all"] = time.monotonic() - started
        return {"steps": run.step, "updates": run.algorithm.updates, "resumed": resume, "seconds": seconds}


def evaluate(model: Path, seed: int, result: Path) -> dict[str, Any]:
    """Test games of a model, by the command that a user has."""
    if not result.exists():
        options = (
            *("--games", GAMES, "--num-envs", GAMES, "--seed", 1000 * seed),
            *("--max-score", CAP, "--json", result),
        )
        command = [sys.executable, ROOT / "run_dino.py", "evaluate", "--model", model, *options]
        subprocess.run([str(word) for word in command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    played = json.loads(result.read_text())
    return {name: played[name] for name in ("mean", "median", "min", "capped")}


def train_once(variant: str, length: dict[str, Any], seed: int, run_dir: Path) -> None:
    """Train one agent, unless that was done."""
    done = run_dir / "trained.json"
    if not done.exists():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            write_json(done, pool.submit(train, variant, length, seed, run_dir).result())


def measure(seed: int, run_dir: Path) -> dict[str, Any]:
    """Test games of one run; what the table says of it."""
    return {
        **json.loads((run_dir / "trained.json").read_text()),
        "validations": read_table(run_dir / "validations.csv").get("mean", []),
        "best": evaluate(run_dir / BEST_MODEL, seed, run_dir / "best-games.json"),
        "last": evaluate(run_dir / "last" / BEST_MODEL, seed, run_dir / "last-games.json"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    columns = [
        *("variant", "asked", "seed", "steps", "updates", "best model: mean", "median", "at cap"),
        *("last model: mean", "median", "at cap", "last validation / best"),
        *("s: all", "start", "training", "validations", "checkpoints"),
    ]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        scores = row["validations"]
        cells = [
            row["variant"],
            f"{row['amount']:g} {row['unit']}",
            str(row["seed"]),
            f"{row['steps']:,}",
            f"{row['updates']:,}",
            *(
                f"{row[model][name]:,.0f}"
                for model in ("best", "last")
                for name in ("mean", "median", "capped")
            ),
            f"{scores[-1] / max(scores):.2f}" if scores else "",
            *(f"{row['seconds'].get(part, 0):.0f}" for part in columns[-5:][1:]),
        ]
        cells.insert(-4, f"{row['seconds']['all']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, nargs="+")
    length.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["default"], metavar="NAME")
    parser.add_argument("--dir", type=Path, default=Path("runs/training-time"))
    options = parser.parse_args()
    console = Console()
    options.dir.mkdir(parents=True, exist_ok=True)
    unit = "minutes" if options.minutes else "steps"
    runs = {
        options.dir / f"{variant.replace(' ', '-')}-{amount:g}-{unit}-{seed}": {
            "variant": variant,
            "unit": unit,
            "amount": amount,
            "seed": seed,
        }
        for amount, seed, variant in itertools.product(
            options.minutes or options.steps, options.seeds, options.variants
        )
    }
    for run_dir, run in runs.items():
        train_once(run["variant"], {unit: run["amount"]}, run["seed"], run_dir)
        console.print(f"trained {run_dir}", soft_wrap=True)
    rows = []
    with ThreadPoolExecutor(EVALUATIONS) as pool:
        measurements = pool.map(measure, (run["seed"] for run in runs.values()), runs)
        for run, measured in zip(runs.values(), measurements, strict=True):
            rows.append(run | measured)
            write_json(options.dir / "results.json", rows)
            console.print(table(rows[-1:]).splitlines()[-1], soft_wrap=True)
    console.print(table(rows), soft_wrap=True)


if __name__ == "__main__":
    main()
