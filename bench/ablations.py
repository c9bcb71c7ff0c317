"""What each part of the Dino's recipe is worth: the default run beside runs that differ in one thing.

    python bench/ablations.py --seeds 1 2 --steps 150000 --dir runs/ablations
    python bench/ablations.py --only default "1 step" --seeds 3

Two runs at a time, a core each; all see equally many environment steps. What is on file in the directory is
not run again, so that a search may be broken off and go on. The table is in Markdown.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from dino_rl.agents.dqn import DQN, DQNLearner, q_network
from dino_rl.backend import keras, share_cores, tf
from dino_rl.results.runlog import read_table
from dino_rl.settings import DQNSettings, RunSettings
from dino_rl.train import Trainer

Change = Callable[[RunSettings], RunSettings]
CAP = 5_000


def agent(**changes) -> Change:
    """Other hyper-parameters of the agent."""
    return lambda run: replace(run, dqn=replace(run.dqn, **changes))


def games(**changes) -> Change:
    """Other games to learn from."""
    return lambda run: replace(run, env=replace(run.env, variation=replace(run.env.variation, **changes)))


def environment(**changes) -> Change:
    """Another environment; its pictures and rewards."""
    return lambda run: replace(run, env=replace(run.env, **changes))


def decide_every(frames: int) -> Change:
    """Another decision interval. Pictures stay four frames apart as nearly as can be, returns 20 frames long,
    and a second is discounted alike."""

    def change(run: RunSettings) -> RunSettings:
        ratio = frames / run.env.decision_interval_frames
        apart = run.env.decision_interval_frames * run.env.stack_stride
        run = environment(decision_interval_frames=frames, stack_stride=max(1, apart // frames))(run)
        return agent(n_step=round(run.dqn.n_step / ratio), discount=run.dqn.discount**ratio)(run)

    return change


class QuantileDQN(DQN):
    """Learns the distribution of returns, as quantiles whose mean is the value (Dabney et al. 2018,
    https://arxiv.org/abs/1710.10044). Its network has one stream."""

    QUANTILES = 32
    KAPPA = 0.1  # where the Huber loss turns straight; returns lie between -1 and 1

    @staticmethod
    def make_network(settings: DQNSettings, observation_shape: tuple[int, ...], num_actions: int):
        """Observations [B, ...] -> values [B, A], by way of the layer "quantiles", [B, N, A]."""
        count = QuantileDQN.QUANTILES
        inner = q_network(replace(settings, dueling=False), observation_shape, count * num_actions)
        quantiles = keras.layers.Reshape((count, num_actions), name="quantiles")(inner.output)
        return keras.Model(inner.input, keras.layers.GlobalAveragePooling1D()(quantiles))

    def __init__(self, settings: DQNSettings, observation_shape: tuple[int, ...], num_actions: int):
        super().__init__(settings, observation_shape, num_actions)
        self._quantiles, self._target_quantiles = (
            keras.Model(network.input, network.get_layer("quantiles").output)
            for network in (self.q_network, self.target_network)
        )

    def _compute_update(self, part):
        observation, action, reward, discount, next_observation, weight, *moves = part
        shares = (tf.range(self.QUANTILES, dtype=tf.float32) + 0.5) / self.QUANTILES
        next_action = tf.argmax(self.q_network(next_observation, training=False), axis=1)
        next_quantiles = tf.gather(
            self._target_quantiles(next_observation, training=False), next_action, axis=2, batch_dims=1
        )
        target = reward[:, None] + discount[:, None] * next_quantiles  # [B, N]
        with tf.GradientTape() as tape:
            q = tf.gather(self._quantiles(observation, training=True), action, axis=2, batch_dims=1)
            error = target[:, None, :] - q[:, :, None]  # [B, N, N]
            size = tf.abs(error)
            huber = tf.where(size < self.KAPPA, 0.5 * size**2 / self.KAPPA, size - 0.5 * self.KAPPA)
            slope = tf.abs(shares[:, None] - tf.cast(error < 0.0, tf.float32))
            loss = tf.reduce_mean(weight * tf.reduce_sum(tf.reduce_mean(slope * huber, axis=2), axis=1))
        self._apply(tape.gradient(loss, self.q_network.trainable_variables), *moves)
        td_error = tf.reduce_mean(target, axis=1) - tf.reduce_mean(q, axis=1)
        return loss, tf.reduce_mean(q), td_error


class ShiftingDQN(DQN):
    """Each batch is moved by up to two points of the picture in both directions, its edges repeated (in the
    manner of Kostrikov et al. 2020, https://arxiv.org/abs/2004.13649)."""

    REACH = 2

    def _compute_update(self, part):
        observation, action, reward, discount, next_observation, *others = part
        reach, shape = self.REACH, tf.shape(observation)
        offset = tf.random.uniform([2], 0, 2 * reach + 1, tf.int32)
        start = tf.concat([[0], offset, [0]], axis=0)

        def moved(pictures):
            padded = tf.pad(pictures, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
            return tf.ensure_shape(tf.slice(padded, start, shape), pictures.shape)

        return super()._compute_update(
            [moved(observation), action, reward, discount, moved(next_observation), *others]
        )


# What is not in dino_rl, for it did not help.
AGENTS: dict[str, type[DQN]] = {"quantiles": QuantileDQN, "moved pictures": ShiftingDQN}
ABLATIONS: dict[str, Change] = {
    "default": lambda run: run,
    "1 step": agent(n_step=1),
    "5 steps": agent(n_step=5),
    "20 steps": agent(n_step=20),
    "returns not cut": agent(cut_returns=False),
    "replay ratio 1": agent(replay_ratio=1.0),
    "replay ratio 4": agent(replay_ratio=4.0),
    "Nature's network": agent(network="nature"),
    "the tutorial's network": agent(network="tutorial"),
    "not dueling": agent(dueling=False),
    "not double": agent(double=False),
    "uniform replay": agent(priority_exponent=0.0, importance_exponent=0.0),
    "a memory of 100,000": agent(replay_capacity=100_000),
    "one greedy game": environment(greedy_envs=1),
    "no averaged weights": agent(averaged_share=0.0, act_with_target=False),
    "the target network acts": agent(averaged_share=0.0),
    "averaged over 0.3": agent(averaged_share=0.3),
    "all games from the start": games(
        random_start_share=0.0, full_speed_share=0.0, constant_speed_share=0.0, max_frames=None
    ),
    "night as in the game": games(night_every=None),
    "x up to 50": games(dino_x=(0, 50)),
    "no way back from a crash": games(rewind_share=0.0),
    "usual gaps": games(tight_gaps_share=0.0),
    "no delays": games(delay_concentrations=()),
    "even frames": games(frame_jitter_ms=None, long_frame_share=(0.0, 0.0)),
    "a decision every frame": decide_every(1),
    "a decision every 3 frames": decide_every(3),
    "a decision every 4 frames": decide_every(4),
    "the tutorial's reward": environment(reward="tutorial"),
    "no least exploration": agent(epsilon_floors=None),
    "random actions all alike": agent(random_action_weights=()),
    **{name: lambda run: run for name in AGENTS},
}


def run(name: str, seed: int, steps: int, directory: Path) -> dict[str, float]:
    """One run, and its last validation: 20 greedy games on held-out seeds."""
    run_dir = directory / f"{name.replace(' ', '-')}-{seed}"
    table = run_dir / "validations.csv"
    if not read_table(table):  # none, or that of a run that was broken off
        DQNLearner.agent_class = AGENTS.get(name, DQN)
        train(ABLATIONS[name](RunSettings()), seed, steps, run_dir)
    return {column: values[-1] for column, values in read_table(table).items()}


def train(settings: RunSettings, seed: int, steps: int, run_dir: Path):
    """Train with a core of one's own; whatever the run leaves lies in its directory."""
    share_cores()
    settings = replace(
        settings, seed=seed, steps=steps, minutes=None, validations=1, validation_max_score=CAP
    )
    with closing(Trainer(settings, run_dir)) as trainer:
        for _ in trainer.run(" ".join(sys.argv)):
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--dir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--at-once", type=int, default=2, help="runs, a core each")
    options = parser.parse_args()
    console = Console()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.at_once, spawn, max_tasks_per_child=1) as pool:
        running: dict[Future, tuple[str, int]] = {
            pool.submit(run, name, seed, options.steps, options.dir): (name, seed)
            for name in options.only
            for seed in options.seeds
        }
        for future in as_completed(running):
            result = future.result()
            console.print(f"{running[future]}: mean {result['mean']:,.0f}, {result['capped']:.0f} at the cap")
    console.print(f"| run | {' | '.join(f'seed {seed}' for seed in options.seeds)} | mean | at the cap |")
    console.print("|---" * (len(options.seeds) + 3) + "|")
    for name in options.only:
        results = [future.result() for future, (of, _) in running.items() if of == name]
        means = [result["mean"] for result in results]
        capped = sum(result["capped"] for result in results)
        played = sum(result["games"] for result in results)
        cells = [
            *(f"{mean:,.0f}" for mean in means),
            f"{np.mean(means):,.0f}",
            f"{capped:.0f} of {played:.0f}",
        ]
        console.print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
