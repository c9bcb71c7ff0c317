"""A simulation of actors, links and a learner, for `scale_sim.py`.

Actors make rollouts, links transfer them, and a learner adds them to its replay memory and makes the updates
that are due for each. An actor may be `in_flight` rollouts ahead of the learner; then it waits. Everything on
one machine shares its cores.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WARM_UP_S = 20.0


@dataclass(frozen=True)
class Rates:
    """The cost of each operation. Seconds are of one core."""

    rollout_s: float
    """An actor's rollout, with the work of its browser."""
    rollout_steps: int
    """Environment steps in a rollout, of all games of the actor."""
    rollout_bytes: int
    """Size of a rollout on the network."""
    ingest_s: float
    """The learner adds a rollout to its replay memory."""
    update_s: float
    """One update, with the sampling of its batch."""
    publish_s: float
    """The learner writes the weights to where actors fetch them."""
    weights_bytes: int
    """Size of one copy of the weights."""


@dataclass(frozen=True)
class Layout:
    """Machines, and the rules of the run."""

    actors: int
    """In all."""
    actors_per_node: int | None = None
    """None: all on the learner's machine."""
    cores: float = 2
    """Of every machine."""
    link_bytes_per_s: float = 1.25e9
    """Of every machine's network link, in each direction; the default is 10 Gbit/s."""
    batch_size: int = 64
    """Transitions of an update."""
    samples_per_insert: float = 4.0
    """As in `DQNConfig`; but with 0 the learner learns at its own pace and no actor waits, as in Ape-X."""
    publish_updates: int = 25
    """Updates from one publication of the weights to the next."""
    in_flight: int = 2
    """Rollouts that an actor may be ahead of the learner."""
    update_speed: float = 1.0
    """How many times faster than measured an update is, for example on a GPU."""


@dataclass(frozen=True)
class Outcome:
    """Rates of the whole run, and shares of the simulated time."""

    steps_per_s: float
    updates_per_s: float
    learner_busy: float
    link_busy: float
    actors_waiting: float

    @property
    def saturated(self) -> str:
        """The bottleneck."""
        if self.link_busy > 0.95:
            return "the learner's link"
        if self.learner_busy > 0.95:
            return "the learner"
        return "the actors"


class Resource:
    """Serves several jobs at once: `capacity` of them at full speed; more of them share it evenly.

    It has its own clock, which runs as fast as each job is served. On that clock, the end of a job is known
    when it starts, and stays the same when other jobs start and end.
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
    samples_due: float = 0.0
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
        self.ahead = [0] * layout.actors  # rollouts that the learner has not added yet
        self.rolling = [False] * layout.actors
        self.idle_since = [0.0] * layout.actors
        for actor in range(layout.actors):
            self._next_rollout(actor)
        resources = [*self.machines, self.link_in, self.link_out]
        counting_from = 0.0
        while self.now < WARM_UP_S + seconds:
            if not counting_from and self.now > WARM_UP_S:
                counting_from = self.now
                self._restart_counters(resources)
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

    def _restart_counters(self, resources: list[Resource]):
        """Leave out the beginning, when all actors send at the same time."""
        self.steps = self.updates = 0
        self.learner_busy_s = self.waiting_s = 0.0
        self.idle_since = [self.now] * self.layout.actors
        for resource in resources:
            resource.busy = 0.0

    # --- Actors --------------------------------------------------------------------------------------

    def _machine_of(self, actor: int) -> Resource:
        return self.machines[1 + actor % self.nodes] if self.nodes else self.machines[0]

    def _next_rollout(self, actor: int):
        may = self.ahead[actor] < self.layout.in_flight or not self.layout.samples_per_insert
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
        """The learner's next piece of work: updates that are due, then rollouts that arrived."""
        rates, layout = self.rates, self.layout
        self.learning = True
        started = self.now

        def then(seconds: float, what: Callable[[], None]):
            def done():
                self.learner_busy_s += self.now - started
                what()
                self._work()

            self.machines[0].start(self.now, seconds, done)

        free = not layout.samples_per_insert and self.steps and not self.inbox
        if self.unpublished >= layout.publish_updates:
            then(rates.publish_s, self._publish)
        elif self.samples_due >= layout.batch_size or free:
            then(rates.update_s / layout.update_speed, self._update)
        elif self.inbox:
            then(rates.ingest_s, self._ingest)
        else:
            self.learning = False

    def _publish(self):
        self.unpublished = 0
        for _ in range(self.nodes):  # each machine fetches the weights once
            self.link_out.start(self.now, self.rates.weights_bytes, lambda: None)

    def _update(self):
        self.updates += 1
        self.unpublished += 1
        self.samples_due -= self.layout.batch_size if self.layout.samples_per_insert else 0

    def _ingest(self):
        actor = self.inbox.popleft()
        self.steps += self.rates.rollout_steps
        self.samples_due += self.rates.rollout_steps * self.layout.samples_per_insert
        self.ahead[actor] -= 1
        self._next_rollout(actor)


def simulate(rates: Rates, layout: Layout, seconds: float = 120.0) -> Outcome:
    """Simulate a run for this many seconds, after a warm-up."""
    return _Simulation(rates, layout).run(seconds)
