"""The training loop: act, learn while the environment steps, remember, look how far it got."""

import json
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dino_rl.agents.algorithms import make_learner
from dino_rl.agents.learner import Learner, Step, mean
from dino_rl.backend import keras
from dino_rl.envs.catalog import Interface, interface, make_evaluation_envs, make_training_env, show
from dino_rl.errors import BrowserError, RunError
from dino_rl.evaluate import Evaluation, Stopped, play_side_by_side
from dino_rl.results import checkpoint
from dino_rl.results.model import model_card, save_model, versions
from dino_rl.results.runlog import RunLog
from dino_rl.results.statistics import EpisodeStatistics, IntervalStatistics
from dino_rl.settings import GameSettings, RunSettings

# Validation games carry explicit seeds (see envs/dino.py), far from the test seeds that start at 0.
VALIDATION_SEED = 1_000_000
BROWSER_RESTARTS = 5
INTERVAL_S = 10.0
Scores = dict[bool, deque[float]]  # the last ones of exploring (False) and of greedy (True) games


@dataclass(frozen=True)
class Report:
    """What the loop tells whoever watches: a row of intervals.csv, one of validations.csv, or a milestone of
    the algorithm's own."""

    interval: dict | None = None
    validation: dict | None = None
    milestone: dict | None = None


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
        self.solved_with: float | None = None  # the mean of the last episodes that reached `stop_return`
        self._watch = watch
        state = checkpoint.load_state(run_dir) if resume else None
        self._rngs = {
            name: np.random.default_rng([settings.seed, i])
            for i, name in enumerate(("explore", "replay", "env"))
        }
        self.env = self._make_env()
        try:
            self._prepare(state)
        except BaseException:
            self.env.close()
            raise

    def _make_env(self):
        return make_training_env(self.settings.env, self._watch)

    def _interface(self) -> Interface:
        return interface(self.env, self.settings.env)

    def _make_learner(self) -> Learner:
        shape, dtype = self.made_for.observation_shape, self.made_for.dtype
        return make_learner(self.settings, shape, dtype, len(self.made_for.actions), self._rngs)

    def _prepare(self, state: dict | None):
        self.made_for = self._interface()
        keras.utils.set_random_seed(self.settings.seed)
        self.learner = self._make_learner()
        self._statistics = EpisodeStatistics(
            self.settings.env.num_envs, self.made_for.actions, self.made_for.watched
        )
        self.step = self.episodes = 0
        self.best_mean = -np.inf
        self._returns: deque[float] = deque(maxlen=100)
        self._seconds_before = 0.0
        self._validations_done = 0
        self._next_validation = 0.0  # not before this many seconds
        self._validated_step: int | None = None
        if state is not None:
            self._take_over(state)
        self._started = time.monotonic()
        self._open_run_dir()

    def _take_over(self, state: dict):
        try:
            self.step, self.episodes = state["step"], state["episodes"]
            self.best_mean = state["best_mean"]
            self._seconds_before = state["seconds"]
            self._validations_done = state["validations_done"]
            for name, rng in self._rngs.items():
                rng.bit_generator.state = state["random"][name]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The checkpoint in {self.run_dir} is damaged ({error!r} in state.json): start a new run."
            ) from error
        self._restore(state)

    def _restore(self, state: dict):
        checkpoint.load(self.run_dir, self.learner, state)

    def _open_run_dir(self):
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            about = {
                "settings": asdict(self.settings),
                "actions": self.made_for.actions,
                "versions": versions(self.made_for.versions),
            }
            (self.run_dir / "run.json").write_text(json.dumps(about, indent=2) + "\n")
            self._log = RunLog(
                self.run_dir,
                self.learner.episode_columns + self._statistics.columns,
                self.learner.interval_columns,
                self.learner.milestone_columns,
                self.step,
            )
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

    @property
    def return_mean(self) -> float:
        """Of the last 100 episodes; NaN before the first."""
        return mean(self._returns)

    @property
    def model_path(self) -> Path:
        """Of the best model, for who wants to see it play."""
        return self.run_dir / "best.h5"

    # --- The loop ------------------------------------------------------------------------------------

    def run(self, command: str = "") -> Iterator[Report]:
        """Train to the end of what was asked for, yielding reports; save at the end.

        Args:
            command: how the run was started, for the model's card.
        """
        self._command = command
        clock = self._clock = IntervalStatistics(self.step, self.learner.updates)
        self._scores: Scores = {False: deque(maxlen=100), True: deque(maxlen=40)}
        checkpoint_due = self.seconds + 60 * self.settings.checkpoint_minutes
        with closing(self._play_and_learn()) as turns:
            for milestone in turns:
                if milestone:
                    row = {"step": self.step, "minutes": self.seconds / 60, **milestone}
                    self._log.iterations.add({name: row[name] for name in self._log.iterations.columns})
                    yield Report(milestone=row)
                if clock.since_report > INTERVAL_S:
                    yield Report(interval=self._interval())
                if self._validation_is_due():
                    report = self._validate()
                    if report:
                        yield report
                if self.seconds > checkpoint_due:
                    self.save()
                    checkpoint_due = self.seconds + 60 * self.settings.checkpoint_minutes
                returns, target = self._returns, self.settings.stop_return
                if target is not None and len(returns) == returns.maxlen and np.mean(returns) >= target:
                    self.solved_with = float(np.mean(returns))
                    break
        if self.step > clock.step:  # even the shortest run leaves a row
            yield Report(interval=self._interval())
        due = self._validations_done < self.settings.validations and not self.stopped
        if due and self._validated_step != self.step:  # the one before may have lasted to the end
            report = self._validate()
            if report:
                yield report
        self.save()

    def _play_and_learn(self) -> Generator[dict | None, None, None]:
        """Turn by turn to the end; a turn yields what the learner has to report of a milestone."""
        num_envs = self.env.num_envs
        greedy = np.arange(num_envs) >= num_envs - self.settings.env.greedy_envs
        lanes = self._statistics
        restarts = 0
        nobody = np.zeros(num_envs, bool)
        observations, first, ended = self._reset()
        with ThreadPoolExecutor(1) as stepper:
            while self.progress < 1.0 and not self.stopped:
                actions, values = self.learner.act(observations, self.progress)
                if self._watch:
                    show(
                        self.env,
                        num_envs - 1,
                        values[-1],
                        actions[-1],
                        f"step {self.step:,}{', greedy' * bool(greedy[-1])}",
                    )
                # The environment steps in its own thread, which waits for the browser; meanwhile we learn.
                stepping = stepper.submit(self.env.step, actions)
                with self._clock.timed("learn"):
                    milestone = self.learner.learn(self.step, self.progress)
                try:
                    with self._clock.timed("wait"):
                        next_observations, rewards, terminated, truncated, infos = stepping.result()
                except BrowserError:
                    self.save()  # the next browser may not start
                    restarts += 1
                    if restarts > BROWSER_RESTARTS:
                        raise
                    self.env.close()
                    self.env = self._make_env()
                    observations, first, ended = self._reset()
                    continue
                life_lost = infos.get("life_lost", nobody)
                self.learner.take(
                    Step(
                        observations,
                        first,
                        ended,
                        actions,
                        rewards,
                        terminated,
                        truncated,
                        life_lost,
                        greedy=actions == values.argmax(axis=1),
                    )
                )
                self.step += num_envs
                lanes.step(actions, rewards)
                for i in np.flatnonzero(terminated | truncated).tolist():
                    self._count_episode(
                        i, bool(greedy[i]), {**lanes.episode(i, infos), **self.learner.episode_numbers(i)}
                    )
                # Next-step autoreset: what an ended episode shows next is the first frame of another.
                observations, first, ended = next_observations, ended, terminated | truncated
                lanes.begin(first, infos)
                yield milestone

    def _count_episode(self, env: int, greedy: bool, numbers: dict):
        """One has ended in environment `env`."""
        self.episodes += 1
        self._scores[greedy].append(numbers["score"])
        self._returns.append(numbers["return"])
        about = {"episode": self.episodes, "step": self.step, "minutes": self.seconds / 60}
        self._log.episodes.add({**about, "env": env, "greedy": int(greedy), **numbers})

    def _reset(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.learner.break_off()
        observations, infos = self.env.reset(seed=int(self._rngs["env"].integers(2**31, 2**32 - 2**16)))
        everyone = np.ones(self.env.num_envs, bool)
        self._statistics.begin(everyone, infos)
        return observations, everyone, ~everyone

    def _interval(self) -> dict:
        row = {
            "step": self.step,
            "minutes": self.seconds / 60,
            "updates": self.learner.updates,
            "episodes": self.episodes,
            "progress": self.progress,
            "score_mean": mean(self._scores[False]),
            "greedy_score_mean": mean(self._scores[True]),
            **self.learner.interval_numbers(self.progress),
            **self._clock.report(self.step, self.learner.updates),
        }
        self._log.intervals.add(row)
        return row

    # --- Keeping -------------------------------------------------------------------------------------

    def _play_validation(self) -> Evaluation | None:
        """Greedy games on held-out seeds, half of them the game as it is, half as live play varies it.

        Returns:
            None if the run was stopped meanwhile.
        """
        settings = self.settings
        games = (GameSettings(), settings.env.variation.as_live(GameSettings()))
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + settings.validation_games)

        def policy(observations: np.ndarray) -> np.ndarray:
            if self.stopped:
                raise Stopped
            return self.learner.play(observations)

        for attempt in range(1, BROWSER_RESTARTS + 1):
            try:
                with ExitStack() as open_envs:
                    envs = [
                        open_envs.enter_context(closing(env))
                        for env in make_evaluation_envs(
                            settings.env, settings.validation_games, settings.validation_cap, games
                        )
                    ]
                    return play_side_by_side(envs, policy, seeds)
            except BrowserError:
                if attempt == BROWSER_RESTARTS:
                    raise
            except Stopped:
                return None
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
        self._validated_step = self.step
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
            self._keep_best(self._card(row))
        return Report(validation=row)

    def _keep_best(self, card: dict):
        save_model(self.model_path, self.learner.network, card)

    def _card(self, validation: dict) -> dict:
        return model_card(
            self.settings,
            self.made_for,
            training={
                "command": self._command,
                "steps": self.step,
                "updates": self.learner.updates,
                "minutes": round(self.seconds / 60, 1),
                "seed": self.settings.seed,
            },
            validation={
                **validation,
                "first_seed": VALIDATION_SEED,
                "max_score": self.settings.validation_cap,
            },
        )

    def save(self):
        """Write a checkpoint that `resume` goes on from."""
        state = {
            "step": self.step,
            "episodes": self.episodes,
            "best_mean": self.best_mean,
            "seconds": self.seconds,
            "validations_done": self._validations_done,
            "random": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
        }
        self._write_checkpoint(state)

    def _write_checkpoint(self, state: dict):
        checkpoint.save(self.run_dir, self.learner, state)

    def close(self):
        """Stop the browser and close the logs."""
        with suppress(Exception):  # a browser that crashed cannot be closed twice
            self.env.close()
        self._log.close()
