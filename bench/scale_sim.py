"""How fast would it be with N actors? A simulation from the measured speed of the parts.

    python bench/scale_sim.py --measure rates.json        # measure the parts on this machine (2 minutes)
    python bench/scale_sim.py --rates rates.json          # predict, up to 1,000 actors on many machines
    python bench/scale_sim.py --rates rates.json --check  # and compare 1, 2 and 4 actors with real runs here

The simulation knows actors, that make rollouts; links, that carry them; and a learner, that takes them in and
owes updates for each. An actor may be `in_flight` rollouts ahead of the learner and then waits. What shares
a machine shares its cores. Costs are CPU time, so that they can be measured beside other work; and the check
says how much CPU the real run got.
"""

import argparse
import heapq
import itertools
import json
import pickle
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


WARM_UP_S = 20.0


@dataclass(frozen=True)
class Rates:
    """What one thing costs. Seconds are of one core.

    Attributes:
        rollout_s: an actor's rollout, its browser's work included.
        rollout_steps: environment steps in it (of all games of the actor).
        rollout_bytes: of it on the wire.
        ingest_s: the learner takes one rollout into its replay.
        update_s: one update, with drawing its batch.
        publish_s: the learner puts the weights where actors fetch them.
        weights_bytes: of one copy of them.
    """

    rollout_s: float
    rollout_steps: int
    rollout_bytes: int
    ingest_s: float
    update_s: float
    publish_s: float
    weights_bytes: int


@dataclass(frozen=True)
class Layout:
    """Who runs where, and by which rules.

    Attributes:
        actors: in all.
        actors_per_node: None puts them on the learner's own machine.
        cores: of every machine.
        link_bytes_per_s: of every machine's network link, each way.
        batch_size, replay_ratio: of the learner (see DQNSettings); a ratio of 0 lets it learn at its own pace
            and never makes an actor wait, as Ape-X does.
        publish_updates: updates from one publication of weights to the next.
        in_flight: rollouts that an actor may be ahead.
        update_speed: how many times faster than measured an update is: what a GPU would bring.
    """

    actors: int
    actors_per_node: int | None = None
    cores: float = 2
    link_bytes_per_s: float = 1.25e9  # 10 Gbit/s
    batch_size: int = 64
    replay_ratio: float = 4.0
    publish_updates: int = 25
    in_flight: int = 2
    update_speed: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """Rates of the whole; shares are of the time simulated."""

    steps_per_s: float
    updates_per_s: float
    learner_busy: float
    link_busy: float
    actors_waiting: float

    @property
    def saturated(self) -> str:
        """What would have to be faster first."""
        if self.link_busy > 0.95:
            return "the learner's link"
        if self.learner_busy > 0.95:
            return "the learner"
        return "the actors"


class Resource:
    """Serves several jobs at once: `capacity` of them at full speed, more share it evenly.

    A clock of its own, that runs as fast as each job is served, says when jobs end; so nothing has to be
    recomputed when others come and go.
    """

    def __init__(self, capacity: float, per_job: float = 1.0):
        self._capacity, self._per_job = capacity, per_job
        self._clock = self._at = self.busy = 0.0
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    @property
    def _speed(self) -> float:
        return min(self._per_job, self._capacity / len(self._jobs)) if self._jobs else 0.0

    def advance(self, now: float):
        passed = now - self._at
        self._clock += passed * self._speed
        self.busy += passed * self._speed * len(self._jobs) / self._capacity
        self._at = now

    def start(self, now: float, work: float, done: Callable[[], None]):
        self.advance(now)
        heapq.heappush(self._jobs, (self._clock + work, next(self._number), done))

    def next_end(self) -> float:
        return self._at + (self._jobs[0][0] - self._clock) / self._speed if self._jobs else float("inf")

    def finish(self, now: float) -> Callable[[], None]:
        self.advance(now)
        return heapq.heappop(self._jobs)[2]


@dataclass
class _Simulation:
    rates: Rates
    layout: Layout
    now: float = 0.0
    steps: int = 0
    updates: int = 0
    debt: float = 0.0
    unpublished: int = 0
    learner_busy_s: float = 0.0
    waiting_s: float = 0.0
    inbox: deque[int] = field(default_factory=deque)
    learning: bool = False

    def run(self, seconds: float) -> Outcome:
        layout = self.layout
        if layout.actors_per_node is None:
            nodes = 0
            self.machines = [Resource(layout.cores)]
        else:
            nodes = -(-layout.actors // layout.actors_per_node)
            self.machines = [Resource(layout.cores) for _ in range(nodes + 1)]
        # One byte is one unit of work on a link; any number of transfers share it.
        self.link_in, self.link_out = (
            Resource(layout.link_bytes_per_s, layout.link_bytes_per_s) for _ in range(2)
        )
        self.nodes = nodes
        self.ahead = [0] * layout.actors  # rollouts that the learner has not taken in
        self.rolling = [False] * layout.actors
        self.idle_since = [0.0] * layout.actors
        for actor in range(layout.actors):
            self._next_rollout(actor)
        resources = [*self.machines, self.link_in, self.link_out]
        counting_from = 0.0
        while self.now < WARM_UP_S + seconds:
            if not counting_from and self.now > WARM_UP_S:
                counting_from = self.now
                self._count_anew(resources)
            ends = [(resource.next_end(), i) for i, resource in enumerate(resources)]
            end, i = min(ends)
            self.now = end
            resources[i].finish(end)()
        busy_links = max(self.link_in.busy, self.link_out.busy)
        passed = self.now - counting_from
        idle = zip(self.idle_since, self.rolling, strict=True)
        self.waiting_s += sum(self.now - since for since, rolling in idle if not rolling)
        return Outcome(
            steps_per_s=self.steps / passed,
            updates_per_s=self.updates / passed,
            learner_busy=self.learner_busy_s / passed,
            link_busy=busy_links / passed,
            actors_waiting=self.waiting_s / passed / layout.actors,
        )

    def _count_anew(self, resources: list[Resource]):
        """Without the beginning, when all actors send at once."""
        self.steps = self.updates = 0
        self.learner_busy_s = self.waiting_s = 0.0
        self.idle_since = [self.now] * self.layout.actors
        for resource in resources:
            resource.busy = 0.0

    # --- Actors --------------------------------------------------------------------------------------

    def _machine_of(self, actor: int) -> Resource:
        return self.machines[1 + actor % self.nodes] if self.nodes else self.machines[0]

    def _next_rollout(self, actor: int):
        may = self.ahead[actor] < self.layout.in_flight or not self.layout.replay_ratio
        if may and not self.rolling[actor]:
            self.waiting_s += self.now - self.idle_since[actor]
            self.ahead[actor] += 1
            self.rolling[actor] = True
            self._machine_of(actor).start(self.now, self.rates.rollout_s, lambda: self._send(actor))

    def _send(self, actor: int):
        self.rolling[actor] = False
        self.idle_since[actor] = self.now
        if self.nodes:
            self.link_in.start(self.now, self.rates.rollout_bytes, lambda: self._arrive(actor))
        else:
            self._arrive(actor)
        self._next_rollout(actor)

    # --- The learner ---------------------------------------------------------------------------------

    def _arrive(self, actor: int):
        self.inbox.append(actor)
        if not self.learning:
            self._work()

    def _work(self):
        """The learner's next piece of work: updates that are owed, then what has arrived."""
        rates, layout = self.rates, self.layout
        self.learning = True
        started = self.now

        def then(seconds: float, what: Callable[[], None]):
            def done():
                self.learner_busy_s += self.now - started
                what()
                self._work()

            self.machines[0].start(self.now, seconds, done)

        free = not layout.replay_ratio and self.steps and not self.inbox
        if self.unpublished >= layout.publish_updates:
            then(rates.publish_s, self._publish)
        elif self.debt >= layout.batch_size or free:
            then(rates.update_s / layout.update_speed, self._update)
        elif self.inbox:
            then(rates.ingest_s, self._take_in)
        else:
            self.learning = False

    def _publish(self):
        self.unpublished = 0
        for _ in range(self.nodes):  # each machine fetches them once
            self.link_out.start(self.now, self.rates.weights_bytes, lambda: None)

    def _update(self):
        self.updates += 1
        self.unpublished += 1
        self.debt -= self.layout.batch_size if self.layout.replay_ratio else 0

    def _take_in(self):
        actor = self.inbox.popleft()
        self.steps += self.rates.rollout_steps
        self.debt += self.rates.rollout_steps * self.layout.replay_ratio
        self.ahead[actor] -= 1
        self._next_rollout(actor)


def simulate(rates: Rates, layout: Layout, seconds: float = 120.0) -> Outcome:
    """Run the parts against each other for a while."""
    return _Simulation(rates, layout).run(seconds)


# --- Measuring -------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and all below it, browsers and Ray's workers."""
    this = psutil.Process()
    spent = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
            spent += times.user + times.system
        except psutil.Error:  # it has just ended
            continue
    return spent


def cost(work: Callable[[], object], least_s: float = 10.0) -> float:
    """CPU seconds of doing it once, over at least so much time."""
    work()  # what is compiled is not counted
    started, before, count = time.monotonic(), cpu_seconds(), 0
    while time.monotonic() - started < least_s:
        work()
        count += 1
    return (cpu_seconds() - before) / count


def measure(settings) -> Rates:
    """Every part by itself, the way a run uses it."""
    import numpy as np
    import ray

    from dino_rl.agents.dqn import make_replay
    from dino_rl.agents.shards import ShardedReplay
    from dino_rl.scale.actors import Actor
    from dino_rl.scale.apex import ApexLearner
    from dino_rl.scale.cluster import cluster

    actor = Actor(settings, 0, 1, 0)
    try:
        made_for = actor.made_for()
        shape, dtype, rng = made_for.observation_shape, made_for.dtype, np.random.default_rng(0)
        shard = make_replay(settings, settings.env.num_envs, 1.0, shape, dtype, rng)
        learner = ApexLearner(
            settings,
            shape,
            dtype,
            len(made_for.actions),
            {"explore": rng, "replay": rng},
            ShardedReplay([shard], rng),
        )
        weights = learner.network.get_weights()
        rollout_s = cost(lambda: actor.roll_out(weights, 0))
        rollout = actor.roll_out(weights, 0)
        while len(learner.replay) < settings.dqn.learning_starts:
            learner.take_rollout(rollout)
        ingest_s = cost(lambda: learner.take_rollout(rollout), 5.0)

        def update():
            learner._debt = settings.dqn.batch_size * settings.dqn.updates_per_call
            learner.learn(settings.dqn.learning_starts, 0.0)

        update_s = cost(update) / settings.dqn.updates_per_call
    finally:
        actor.close()
    with cluster():
        publish_s = cost(lambda: ray.put(learner.network.get_weights()), 3.0)
    return Rates(
        rollout_s=rollout_s,
        rollout_steps=rollout.steps.action.size,
        rollout_bytes=len(pickle.dumps(rollout, protocol=5)),
        ingest_s=ingest_s,
        update_s=update_s,
        publish_s=publish_s,
        weights_bytes=sum(each.nbytes for each in weights),
    )


def real_run(settings, seconds: float) -> tuple[float, float, float]:
    """Steps and updates a second of a real run on this machine, and the cores' worth of CPU that it got."""
    from dino_rl.scale.apex import ApexTrainer
    from dino_rl.scale.cluster import cluster

    settings = replace(settings, steps=None, minutes=60.0, validations=0)
    with cluster(workers=settings.on_ray.actors), tempfile.TemporaryDirectory() as directory:
        trainer = ApexTrainer(settings, Path(directory) / "run")
        marks = []
        try:
            for report in trainer.run():
                # Not before it learns at its full pace.
                if report.interval and trainer.learner.updates > 100:
                    marks.append((time.monotonic(), trainer.step, trainer.learner.updates, cpu_seconds()))
                    trainer.stopped = marks[-1][0] - marks[0][0] > seconds
        finally:
            trainer.close()
    (started, step, updates, cpu), (ended, last_step, last_updates, last_cpu) = marks[0], marks[-1]
    elapsed = ended - started
    return (last_step - step) / elapsed, (last_updates - updates) / elapsed, (last_cpu - cpu) / elapsed


# --- Telling ---------------------------------------------------------------------------------------------


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
    from dino_rl.envs.catalog import default_settings

    settings = default_settings(options.env, "dqn", "ray")
    if options.measure:
        rates = measure(settings)
        options.measure.write_text(json.dumps(asdict(rates), indent=2) + "\n")
        print(json.dumps(asdict(rates), indent=2))
        return
    rates = Rates(**json.loads(options.rates.read_text()))
    here = Layout(
        1,
        cores=options.cores,
        batch_size=settings.dqn.batch_size,
        replay_ratio=settings.dqn.replay_ratio,
        publish_updates=settings.on_ray.publish_updates,
        in_flight=settings.on_ray.in_flight,
    )
    table(
        f"One machine, {options.cores} cores",
        [(str(n), simulate(rates, replace(here, actors=n))) for n in (1, 2, 4)],
    )
    many = replace(here, actors_per_node=8, cores=16)
    for speed, ratio in ((1, here.replay_ratio), (20, here.replay_ratio), (20, 0.0)):
        kept = f"{ratio:g} transitions learned for each step" if ratio else "the learner at its own pace"
        layouts = [replace(many, actors=n, update_speed=speed, replay_ratio=ratio) for n in (8, 64, 1000)]
        table(
            f"Machines of 16 cores and 10 Gbit/s, 8 actors each; updates {speed} x as fast; {kept}",
            [(str(each.actors), simulate(rates, each, 20.0)) for each in layouts],
        )
    if options.check:
        print("\nReal runs on this machine; predicted for the CPU that each of them got")
        for n in (1, 2, 4):
            run = replace(settings, on_ray=replace(settings.on_ray, actors=n))
            steps, updates, cores = real_run(run, options.seconds)
            outcome = simulate(rates, replace(here, actors=n, cores=cores))
            print(
                f"{n} actors: {steps:,.0f} steps/s and {updates:.1f} updates/s with {cores:.2f} cores; "
                f"predicted {outcome.steps_per_s:,.0f} and {outcome.updates_per_s:.1f}"
            )


if __name__ == "__main__":
    main()
