"""Speed with N actors, predicted by a simulation from the measured speed of the parts.

    python bench/scale_sim.py --measure rates.json        # measure the parts on this machine (2 minutes)
    python bench/scale_sim.py --rates rates.json          # predict, for up to 1,000 actors on many machines
    python bench/scale_sim.py --rates rates.json --check  # and compare with real runs of 1, 2 and 4 actors

Costs are CPU time, so that they can be measured beside other work. `--check` also measures how much CPU each
real run got, and predicts for that.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from simulation import Layout, Outcome, Rates, simulate

from dino_rl.envs.registry import make_task
from dino_rl.presets import default_for
from dino_rl.scale import require_ray
from dino_rl.train_config import TrainConfig
from dino_rl.training.run import Callback, Run

# --- Measuring -------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and all its descendants, such as browsers and Ray's workers."""
    this = psutil.Process()
    spent = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
            spent += times.user + times.system
        except psutil.Error:  # it ended a moment ago
            continue
    return spent


def cost(work: Callable[[], object], least_s: float = 10.0) -> float:
    """CPU seconds of one call: the mean over at least this much time."""
    work()  # compiles
    started, before, count = time.monotonic(), cpu_seconds(), 0
    while time.monotonic() - started < least_s:
        work()
        count += 1
    return (cpu_seconds() - before) / count


def measure(config: TrainConfig) -> Rates:
    """Each part alone, used in the same way as in a run."""
    import ray

    from dino_rl.scale.actors import Actor
    from dino_rl.scale.apex import add_rollout, make_learner
    from dino_rl.scale.cluster import cluster

    assert config.dqn is not None
    assert config.actors is not None
    config = replace(config, actors=replace(config.actors, actors=1))
    actor = Actor(config, index=0, generation=0)
    try:
        actor.open()
        rng = np.random.default_rng(0)
        agent, replay = make_learner(config, make_task(config.env).spec, {"explore": rng, "replay": rng})
        weights = agent.network.get_weights()
        rollout_s = cost(lambda: actor.roll_out(weights, 0))
        rollout = actor.roll_out(weights, 0)
    finally:
        actor.close()
    while len(replay) < config.dqn.learning_starts:
        add_rollout(agent, replay, rollout)
    ingest_s = cost(lambda: add_rollout(agent, replay, rollout), 5.0)

    def update():
        agent.samples_due = config.dqn.batch_size * config.dqn.updates_per_call
        agent.learn(config.dqn.learning_starts, 0.0)

    update_s = cost(update) / config.dqn.updates_per_call
    with cluster():
        publish_s = cost(lambda: ray.put(agent.network.get_weights()), 3.0)
    return Rates(
        rollout_s=rollout_s,
        rollout_steps=rollout.transitions.action.size,
        rollout_bytes=len(pickle.dumps(rollout, protocol=5)),
        ingest_s=ingest_s,
        update_s=update_s,
        publish_s=publish_s,
        weights_bytes=sum(each.nbytes for each in weights),
    )


class Measurement(Callback):
    """Measures a run for a while, from when it learns at its full pace, and stops it.

    Attributes:
        marks: at each interval: time, steps, updates, CPU seconds.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self.marks: list[tuple[float, int, int, float]] = []

    def on_interval(self, run: Run, row: dict[str, Any]) -> None:
        if row["updates"] > 100:
            self.marks.append((time.monotonic(), run.step, row["updates"], cpu_seconds()))
            run.stopped = self.marks[-1][0] - self.marks[0][0] > self._seconds

    def rates(self) -> tuple[float, float, float]:
        """Steps per second, updates per second, and CPU seconds per second."""
        (started, step, updates, cpu), (ended, last_step, last_updates, last_cpu) = (
            self.marks[0],
            self.marks[-1],
        )
        elapsed = ended - started
        return (last_step - step) / elapsed, (last_updates - updates) / elapsed, (last_cpu - cpu) / elapsed


def real_run(config: TrainConfig, seconds: float) -> tuple[float, float, float]:
    """Steps and updates per second of a real run on this machine, and the cores that it used."""
    from dino_rl.experiment import cluster_for, make_run

    config = replace(config, run=replace(config.run, steps=None, minutes=60.0, validations=0))
    measurement = Measurement(seconds)
    with (
        cluster_for(config),
        tempfile.TemporaryDirectory() as directory,
        make_run(config, Path(directory) / "run", [measurement]) as run,
    ):
        run.run()
    return measurement.rates()


# --- Output ----------------------------------------------------------------------------------------------


def table(title: str, rows: list[tuple[str, Outcome]]):
    print(f"\n{title}")
    print(f"{'actors':>8} {'steps/s':>9} {'updates/s':>10} {'learner':>8} {'link':>6} {'waiting':>8}  limit")
    for name, each in rows:
        print(
            f"{name:>8} {each.steps_per_s:>9,.0f} {each.updates_per_s:>10,.1f} {each.learner_busy:>8.0%} "
            f"{each.link_busy:>6.0%} {each.actors_waiting:>8.0%}  {each.saturated}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ChromeDino-v0")
    parser.add_argument("--measure", type=Path, metavar="FILE")
    parser.add_argument("--rates", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="compare with real runs on this machine")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each real run")
    parser.add_argument("--cores", type=int, default=psutil.cpu_count(logical=True))
    options = parser.parse_args()
    config = default_for(options.env, "dqn", "ray")
    assert config.dqn is not None
    assert config.actors is not None
    if options.measure:
        require_ray()
        rates = measure(config)
        options.measure.write_text(json.dumps(asdict(rates), indent=2) + "\n")
        print(json.dumps(asdict(rates), indent=2))
        return
    if not options.rates:
        parser.error("name a file with --measure or --rates")
    rates = Rates(**json.loads(options.rates.read_text()))
    here = Layout(
        1,
        cores=options.cores,
        batch_size=config.dqn.batch_size,
        samples_per_insert=config.dqn.samples_per_insert,
        publish_updates=config.actors.publish_updates,
        in_flight=config.actors.in_flight,
    )
    table(
        f"One machine, {options.cores} cores",
        [(str(n), simulate(rates, replace(here, actors=n))) for n in (1, 2, 4)],
    )
    many = replace(here, actors_per_node=8, cores=16)
    for speed, samples in ((1, here.samples_per_insert), (20, here.samples_per_insert), (20, 0.0)):
        pace = f"{samples:g} samples per insert" if samples else "the learner at its own pace"
        layouts = [
            replace(many, actors=n, update_speed=speed, samples_per_insert=samples) for n in (8, 64, 1000)
        ]
        table(
            f"Machines of 16 cores and 10 Gbit/s, 8 actors each; updates {speed} times as fast; {pace}",
            [(str(each.actors), simulate(rates, each, 20.0)) for each in layouts],
        )
    if options.check:
        print("\nReal runs on this machine, and predictions for the CPU that each of them got")
        for n in (1, 2, 4):
            run = replace(config, actors=replace(config.actors, actors=n))
            steps, updates, cores = real_run(run, options.seconds)
            outcome = simulate(rates, replace(here, actors=n, cores=cores))
            print(
                f"{n} actors: {steps:,.0f} steps/s and {updates:.1f} updates/s with {cores:.2f} cores; "
                f"predicted {outcome.steps_per_s:,.0f} and {outcome.updates_per_s:.1f}"
            )


if __name__ == "__main__":
    main()
