"""The training loop: act, learn while the environment steps, remember, look how far it got."""

import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from dino_rl.agents.dqn import DQN
from dino_rl.agents.replay import Replay
from dino_rl.envs.catalog import interface, make_evaluation_env, make_training_env
from dino_rl.errors import BrowserError, RunError
from dino_rl.evaluate import Evaluation, play_games
from dino_rl.results import checkpoint
from dino_rl.results.model import model_card, save_model, versions
from dino_rl.results.runlog import RunLog
from dino_rl.results.statistics import EpisodeStatistics, IntervalStatistics
from dino_rl.settings import RunSettings

# Validation games carry explicit seeds (see envs/dino.py), far from the test seeds that start at 0.
VALIDATION_SEED = 1_000_000
BROWSER_RESTARTS = 5
INTERVAL_S = 10.0
Scores = dict[bool, deque[float]]  # the last ones of exploring (False) and of greedy (True) games


@dataclass(frozen=True)
class Report:
    """What the loop tells whoever watches: a row of intervals.csv, or one of validations.csv."""

    interval: dict | None = None
    validation: dict | None = None


class Trainer:
    """One training run in its directory.

    Args:
        settings: what to learn, how, and for how long.
        run_dir: everything that the run leaves lies here.
        resume: continue the checkpoint in `run_dir`.
        watch: show the games in a window.

    Raises:
        RunError: the directory cannot be written, or holds no checkpoint to resume.
        BrowserError, PageError: the environment cannot be made.
    """

    def __init__(self, settings: RunSettings, run_dir: Path, resume: bool = False, watch: bool = False):
        self.settings = settings
        self.run_dir = run_dir
        self.stopped = False  # set it, and the run ends after the step at hand
        self._watch = watch
        state = checkpoint.load_state(run_dir) if resume else None
        keras.utils.set_random_seed(settings.seed)
        self._rngs = {
            name: np.random.default_rng([settings.seed, i])
            for i, name in enumerate(("explore", "replay", "env"))
        }
        self.env = make_training_env(settings.env, watch)
        try:
            self._prepare(state)
        except BaseException:
            self.env.close()
            raise

    def _prepare(self, state: dict | None):
        env, dqn = self.settings.env, self.settings.dqn
        facts = interface(self.env, env)
        shape, dtype, num_actions = facts.observation_shape, facts.dtype, len(facts.actions)
        self._is_image = len(shape) == 3
        self.agent = DQN(dqn, shape, num_actions, self._rngs["explore"])
        self.replay = Replay(
            dqn.replay_capacity,
            env.num_envs,
            shape[:2] if self._is_image else shape,
            dtype,
            shape[-1] if self._is_image else 0,
            env.stack_stride,
            dqn.n_step,
            dqn.discount,
            dqn.priority_exponent,
            self._rngs["replay"],
        )
        self.step = self.episodes = 0
        self.best_mean = -np.inf
        self._seconds_before = 0.0
        self._validations_done = 0
        self._next_validation = 0.0  # not before this many seconds
        self._learn_debt = 0.0  # transitions that are due to be learned from
        if state is not None:
            self._take_over(state)
        self._started = time.monotonic()
        self._open_run_dir()

    def _take_over(self, state: dict):
        checkpoint.load(self.run_dir, self.agent, self.replay)
        try:
            self.step, self.episodes = state["step"], state["episodes"]
            self.agent.updates = state["updates"]
            self.best_mean = state["best_mean"]
            self._seconds_before = state["seconds"]
            self._validations_done = state["validations_done"]
            self._learn_debt = state["learn_debt"]
            for name, rng in self._rngs.items():
                rng.bit_generator.state = state["random"][name]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The checkpoint in {self.run_dir} is damaged ({error!r} in state.json): start a new run."
            ) from error

    def _open_run_dir(self):
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            about = {"settings": asdict(self.settings), "versions": versions(self.env.browser_name)}
            (self.run_dir / "run.json").write_text(json.dumps(about, indent=2) + "\n")
            self._log = RunLog(self.run_dir, self.step)
        except OSError as error:
            raise RunError(f"Cannot write to the run directory {self.run_dir} ({error.strerror}).") from error

    # --- Where the run stands ------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Time spent so far, resumed runs included."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end of what was asked for; all schedules follow it."""
        shares = []
        if self.settings.steps:
            shares.append(self.step / self.settings.steps)
        if self.settings.minutes:
            shares.append(self.seconds / (60 * self.settings.minutes))
        return min(1.0, max(shares, default=0.0))

    # --- The loop ------------------------------------------------------------------------------------

    def run(self, command: str = "") -> Iterator[Report]:
        """Train to the end of what was asked for, yielding reports; save at the end.

        Args:
            command: how the run was started, for the model's card.
        """
        self._command = command
        dqn = self.settings.dqn
        num_envs = self.env.num_envs
        greedy = np.arange(num_envs) >= num_envs - self.settings.env.greedy_envs
        lanes = EpisodeStatistics(num_envs, self.agent.num_actions)
        clock = IntervalStatistics(self.step, self.agent.updates)
        scores: Scores = {False: deque(maxlen=100), True: deque(maxlen=40)}
        returns: deque[float] = deque(maxlen=100)
        checkpoint_due = self.seconds + 60 * self.settings.checkpoint_minutes
        restarts = 0
        observations, first, ended = self._reset(lanes)
        with ThreadPoolExecutor(1) as stepper:
            while self.progress < 1.0 and not self.stopped:
                epsilon = dqn.epsilon(self.progress)
                actions, values = self.agent.act(observations, np.where(greedy, 0.0, epsilon))
                if self._watch:
                    self.env.think_aloud(num_envs - 1, values[-1], actions[-1], f"step {self.step:,}, greedy")
                # The environment steps in its own thread, which waits for the browser; meanwhile we learn.
                stepping = stepper.submit(self.env.step, actions)
                with clock.timed("learn"):
                    self._learn(clock)
                try:
                    with clock.timed("wait"):
                        next_observations, rewards, terminated, truncated, infos = stepping.result()
                except BrowserError:
                    self.save()  # the next browser may not start
                    restarts += 1
                    if restarts > BROWSER_RESTARTS:
                        raise
                    self.env.close()
                    self.env = make_training_env(self.settings.env, self._watch)
                    observations, first, ended = self._reset(lanes)
                    continue
                frames = observations[..., -1] if self._is_image else observations
                self.replay.add(frames, first, actions, rewards, terminated, truncated)
                self._learn_debt += num_envs * dqn.replay_ratio
                self.step += num_envs
                lanes.step(actions, rewards, values)
                for i in np.flatnonzero(terminated | truncated):
                    self.episodes += 1
                    row = lanes.episode(int(i), infos)
                    scores[bool(greedy[i])].append(row["score"])
                    returns.append(row["return"])
                    self._log.episodes.add(
                        {
                            "episode": self.episodes,
                            "step": self.step,
                            "minutes": self.seconds / 60,
                            "env": i,
                            "greedy": int(greedy[i]),
                            "epsilon": 0.0 if greedy[i] else epsilon,
                            **row,
                        }
                    )
                # Next-step autoreset: what an ended episode shows next is the first frame of another.
                observations, first, ended = next_observations, ended, terminated | truncated
                lanes.begin(first, infos)
                if clock.since_report > INTERVAL_S:
                    yield Report(interval=self._interval(clock, scores, epsilon))
                if self._validation_is_due():
                    report = self._validate()
                    if report:
                        yield report
                if self.seconds > checkpoint_due:
                    self.save()
                    checkpoint_due = self.seconds + 60 * self.settings.checkpoint_minutes
                target = self.settings.stop_return
                if target is not None and len(returns) == returns.maxlen and np.mean(returns) >= target:
                    break
        if self.step > clock.step:  # even the shortest run leaves a row
            yield Report(interval=self._interval(clock, scores, dqn.epsilon(self.progress)))
        if self._validations_done < self.settings.validations and not self.stopped:
            report = self._validate()
            if report:
                yield report
        self.save()

    def _reset(self, lanes: EpisodeStatistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.replay.break_off()
        observations, infos = self.env.reset(seed=int(self._rngs["env"].integers(2**31, 2**32 - 2**16)))
        everyone = np.ones(self.env.num_envs, bool)
        lanes.begin(everyone, infos)
        return observations, everyone, ~everyone

    def _learn(self, clock: IntervalStatistics):
        dqn = self.settings.dqn
        if self.step < dqn.learning_starts:
            self._learn_debt = 0.0
            return
        learning_rate = dqn.learning_rate_at(self.progress)
        while self._learn_debt >= dqn.batch_size:
            self._learn_debt -= dqn.batch_size
            batch = self.replay.sample(dqn.batch_size, dqn.importance_exponent)
            loss, q, td_error = self.agent.update(batch, learning_rate)
            self.replay.update_priorities(batch.index, td_error)
            clock.losses.append(loss)
            clock.qs.append(q)

    def _interval(self, clock: IntervalStatistics, scores: Scores, epsilon: float) -> dict:
        def mean(values) -> float:
            return float(np.mean(values)) if len(values) else float("nan")

        row = {
            "step": self.step,
            "minutes": self.seconds / 60,
            "updates": self.agent.updates,
            "episodes": self.episodes,
            "progress": self.progress,
            "score_mean": mean(scores[False]),
            "greedy_score_mean": mean(scores[True]),
            "loss": mean(clock.losses),
            "q_mean": mean(clock.qs),
            "epsilon": epsilon,
            "learning_rate": self.settings.dqn.learning_rate_at(self.progress),
            "replay_frames": len(self.replay),
            **clock.report(self.step, self.agent.updates),
        }
        self._log.intervals.add(row)
        return row

    # --- Keeping -------------------------------------------------------------------------------------

    def _play_validation(self) -> Evaluation | None:
        """Greedy games on held-out seeds; None if the run was stopped meanwhile."""
        settings = self.settings
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + settings.validation_games)

        def policy(observations: np.ndarray) -> np.ndarray:
            if self.stopped:
                raise _Stopped
            return self.agent.act(observations)[0]

        for attempt in range(1, BROWSER_RESTARTS + 1):
            env = make_evaluation_env(settings.env, settings.validation_games, settings.validation_max_score)
            try:
                return play_games(env, policy, seeds)
            except BrowserError:
                if attempt == BROWSER_RESTARTS:
                    raise
            except _Stopped:
                return None
            finally:
                env.close()
        return None

    def _validation_is_due(self) -> bool:
        """At even distances over the run, but never so often that it takes much of a short one."""
        due = self._validations_done < int(self.progress * self.settings.validations)
        return due and self.seconds >= self._next_validation

    def _validate(self) -> Report | None:
        """Measure the agent. The best mean so far keeps its model as best.h5."""
        settings = self.settings
        self._validations_done = max(self._validations_done + 1, int(self.progress * settings.validations))
        started = self.seconds
        evaluation = self._play_validation()
        self._next_validation = self.seconds + (self.seconds - started) / settings.validation_time_share
        if evaluation is None:
            return None
        summary = evaluation.summary()
        best = evaluation.mean >= self.best_mean
        row = {
            "step": self.step,
            "minutes": self.seconds / 60,
            **{name: summary[name] for name in ("mean", "median", "max", "min", "capped", "games")},
            "best": int(best),
        }
        self._log.validations.add(row)
        if best:
            self.best_mean = evaluation.mean
            network = self.agent.acting_network
            save_model(self.run_dir / "best.h5", network, self._card(row))
        return Report(validation=row)

    def _card(self, validation: dict) -> dict:
        return model_card(
            self.settings,
            self.agent.acting_network,
            self.env.browser_name,
            training={
                "command": self._command,
                "steps": self.step,
                "updates": self.agent.updates,
                "minutes": round(self.seconds / 60, 1),
                "seed": self.settings.seed,
            },
            validation={
                **validation,
                "first_seed": VALIDATION_SEED,
                "max_score": self.settings.validation_max_score,
            },
        )

    def save(self):
        """Write a checkpoint that `resume` goes on from."""
        state = {
            "step": self.step,
            "episodes": self.episodes,
            "updates": self.agent.updates,
            "best_mean": self.best_mean,
            "seconds": self.seconds,
            "validations_done": self._validations_done,
            "learn_debt": self._learn_debt,
            "random": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
        }
        checkpoint.save(self.run_dir, self.agent, self.replay, state)

    def close(self):
        """Stop the browser and close the logs."""
        with suppress(Exception):  # a browser that crashed cannot be closed twice
            self.env.close()
        self._log.close()


class _Stopped(Exception):
    """The run was stopped while something long was going on."""
