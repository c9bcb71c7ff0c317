"""Our own DQN with its actors on Ray: the shape of Ape-X (Horgan et al. 2018,
https://arxiv.org/abs/1803.00933). Many actors play, one learner learns; the run directory, the logs, the
model and resuming are those of the one-process trainer.

Unlike the paper's, the replay memory lies in the learner's process, a shard for each actor: a frame crosses
the network once, a minibatch never. And the learner keeps its replay ratio: actors that are too far ahead
wait, so that as many updates are made for each step as in one process.
"""

from collections.abc import Generator

from dino_rl.agents.dqn import DQNLearner, make_replay
from dino_rl.agents.learner import Step
from dino_rl.agents.shards import ShardedReplay
from dino_rl.envs.catalog import Interface
from dino_rl.errors import DinoError
from dino_rl.scale.actors import ActorPool, Rollout
from dino_rl.train import Trainer

WAIT_S = 1.0  # for a rollout, before looking whether the run was stopped


class ApexTrainer(Trainer):
    """One training run whose environments live in actors.

    Args, Raises: as for `Trainer`; a Ray cluster must be there.
    """

    env: ActorPool
    learner: "ApexLearner"

    def _make_env(self) -> ActorPool:
        if self.settings.algorithm != "dqn":
            raise DinoError(f"--engine ray is for dqn, not for {self.settings.algorithm}: leave it out.")
        if self._watch:
            raise DinoError("Actors on Ray have no window: leave --watch out, or train with --engine keras.")
        return ActorPool(self.settings)

    def _interface(self) -> Interface:
        return self.env.made_for

    def _make_learner(self) -> "ApexLearner":
        shape, dtype = self.made_for.observation_shape, self.made_for.dtype
        actors = self.settings.on_ray.actors
        shards = [
            make_replay(
                self.settings, self.settings.env.num_envs, 1 / actors, shape, dtype, self._rngs["replay"]
            )
            for _ in range(actors)
        ]
        replay = ShardedReplay(shards, self._rngs["replay"])
        return ApexLearner(self.settings, shape, dtype, len(self.made_for.actions), self._rngs, replay)

    def _play_and_learn(self) -> Generator[None, None, None]:
        on_ray, learner = self.settings.on_ray, self.learner
        learner.break_off()
        self.env.publish(learner.network.get_weights(), learner.updates)
        published = learner.updates
        while self.progress < 1.0 and not self.stopped:
            self.env.play_on()
            with self._clock.timed("wait"):
                rollouts, lost = self.env.wait(WAIT_S)
            for actor in lost:
                learner.replay.shards[actor].break_off()
            for rollout in rollouts:
                self._take(rollout)
                with self._clock.timed("learn"):
                    learner.learn(self.step, self.progress)
                if learner.updates >= published + on_ray.publish_updates:
                    self.env.publish(learner.network.get_weights(), learner.updates)
                    published = learner.updates
                yield None

    def _take(self, rollout: Rollout):
        self.learner.take_rollout(rollout)
        self.step += rollout.steps.action.size
        num_envs = self.settings.env.num_envs
        for lane, numbers in rollout.episodes:
            greedy = lane >= num_envs - self.settings.env.greedy_envs
            self._count_episode(rollout.actor * num_envs + lane, greedy, numbers)


class ApexLearner(DQNLearner):
    """DQN that is fed by actors."""

    interval_columns = ("loss", "q_mean", "learning_rate", "replay_frames", "weights_age")
    replay: ShardedReplay
    _weights_age = 0  # updates between the weights of the last rollout and the newest

    def take_rollout(self, rollout: Rollout):
        """Remember what an actor has played."""
        shard = self.replay.shards[rollout.actor]
        arrays = vars(rollout.steps)
        for t in range(len(rollout.steps.action)):
            step = Step(**{name: array[t] for name, array in arrays.items()})
            self._remember(shard, step.observation, step)
        self._weights_age = self.updates - rollout.weights_version

    def interval_numbers(self, progress: float) -> dict[str, float]:
        numbers = super().interval_numbers(progress)
        del numbers["epsilon"]  # each game has its own
        return numbers | {"weights_age": self._weights_age}
