"""The worth of each part of the Dino's recipe: runs of the recipe `dino`, each with one change.

    python bench/ablations.py --seeds 1 2 --steps 150000 --dir runs/ablations
    python bench/ablations.py --only default "1 step" --seeds 3

Two runs train at a time, one core each, and all for equally many environment steps. Runs that are complete in
the directory are not repeated, so an interrupted session can continue. The result is a table in Markdown.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console

from dino_rl.agents.dqn import DQN, Update
from dino_rl.agents.dqn_agent import DQNAgent
from dino_rl.agents.networks import NetworkConfig, build_q_network
from dino_rl.agents.replay import Batch
from dino_rl.backend import keras, tf, use_one_thread
from dino_rl.envs.registry import make_task
from dino_rl.experiment import make_run
from dino_rl.recipe import choose
from dino_rl.runs.csv_log import read_table
from dino_rl.spec import ObservationSpec
from dino_rl.training.callbacks import Validation
from dino_rl.training.run import Run

CAP = 5_000  # points, where validation games end


# --- Agents that did not help, and so are not in dino_rl ---------------------------------------------------


class QuantileDQN(DQN):
    """Learns the distribution of returns as quantiles whose mean is the value (Dabney et al. 2018,
    https://arxiv.org/abs/1710.10044). Its network has a single stream."""

    QUANTILES = 32
    KAPPA = 0.1  # where the Huber loss becomes linear; returns are between -1 and 1

    @staticmethod
    def make_network(config: NetworkConfig, observation_shape, num_actions: int, precision="float32"):
        """Observations [B, ...] -> values [B, A], computed from the layer "quantiles", [B, N, A]."""
        count = QuantileDQN.QUANTILES
        inner = build_q_network(
            replace(config, dueling=False), observation_shape, count * num_actions, precision
        )
        quantiles = keras.layers.Reshape((count, num_actions), name="quantiles")(inner.output)
        return keras.Model(inner.input, keras.layers.GlobalAveragePooling1D()(quantiles))

    def __init__(self, config, observation: ObservationSpec, num_actions: int):
        super().__init__(config, observation, num_actions)
        self._quantiles, self._target_quantiles = (
            keras.Model(network.input, network.get_layer("quantiles").output)
            for network in (self.q_network, self.target_network)
        )

    def update_once(self, batch: Batch, target_rate, average_rate) -> Update:
        shares = (tf.range(self.QUANTILES, dtype=tf.float32) + 0.5) / self.QUANTILES
        best_action = tf.argmax(self.q_network(batch.next_observation, training=False), axis=1)
        next_quantiles = tf.gather(
            self._target_quantiles(batch.next_observation, training=False), best_action, axis=2, batch_dims=1
        )
        td_target = batch.reward[:, None] + batch.discount[:, None] * next_quantiles  # [B, N]
        with tf.GradientTape() as tape:
            q = tf.gather(
                self._quantiles(batch.observation, training=True), batch.action, axis=2, batch_dims=1
            )  # [B, N]
            error = td_target[:, None, :] - q[:, :, None]  # [B, N, N]
            size = tf.abs(error)
            huber = tf.where(size < self.KAPPA, 0.5 * size**2 / self.KAPPA, size - 0.5 * self.KAPPA)
            slope = tf.abs(shares[:, None] - tf.cast(error < 0.0, tf.float32))
            loss = tf.reduce_mean(batch.weight * tf.reduce_sum(tf.reduce_mean(slope * huber, axis=2), axis=1))
        gradients = tape.gradient(loss, self.q_network.trainable_variables)
        self.apply_gradients(gradients, target_rate, average_rate)
        td_error = tf.reduce_mean(td_target, axis=1) - tf.reduce_mean(q, axis=1)
        return Update(loss, tf.reduce_mean(q), td_error)


class LogisticDQN(DQN):
    """Returns are between -1 and 1 here, and are learned by logistic regression: a value is tanh(z / 2), and
    the loss the cross-entropy of z (the case of two classes of Farebrother et al. 2024,
    https://arxiv.org/abs/2403.03950)."""

    INITIAL_LOGIT = 4.0  # a value of 0.96: as with the recipe, nearly that of an endless game

    @classmethod
    def make_network(cls, config: NetworkConfig, observation_shape, num_actions: int, precision="float32"):
        """Observations [B, ...] -> values [B, A], computed from the layer "q", [B, A]."""
        inner = build_q_network(
            replace(config, initial_value=cls.INITIAL_LOGIT), observation_shape, num_actions, precision
        )
        half = keras.layers.Rescaling(0.5)(inner.output)
        return keras.Model(inner.input, keras.layers.Activation("tanh")(half))

    def __init__(self, config, observation: ObservationSpec, num_actions: int):
        super().__init__(config, observation, num_actions)
        self._logits = keras.Model(self.q_network.input, self.q_network.get_layer("q").output)

    def update_once(self, batch: Batch, target_rate, average_rate) -> Update:
        td_target = tf.clip_by_value(self.td_target(batch), -1.0, 1.0)
        with tf.GradientTape() as tape:
            logits = tf.gather(self._logits(batch.observation, training=True), batch.action, batch_dims=1)
            loss = tf.reduce_mean(
                batch.weight
                * tf.nn.sigmoid_cross_entropy_with_logits(labels=(td_target + 1) / 2, logits=logits)
            )
        gradients = tape.gradient(loss, self.q_network.trainable_variables)
        self.apply_gradients(gradients, target_rate, average_rate)
        q = tf.tanh(logits / 2)
        return Update(loss, tf.reduce_mean(q), td_target - q)


class ShiftingDQN(DQN):
    """Shifts each batch by up to two pixels in both directions, and repeats the edges (after Kostrikov et al.
    2020, https://arxiv.org/abs/2004.13649)."""

    REACH = 2  # pixels

    def update_once(self, batch: Batch, target_rate, average_rate) -> Update:
        reach, shape = self.REACH, tf.shape(batch.observation)
        offset = tf.random.uniform([2], 0, 2 * reach + 1, tf.int32)
        start = tf.concat([[0], offset, [0]], axis=0)

        def shifted(frames):
            padded = tf.pad(frames, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
            return tf.ensure_shape(tf.slice(padded, start, shape), frames.shape)

        batch = batch._replace(
            observation=shifted(batch.observation), next_observation=shifted(batch.next_observation)
        )
        return super().update_once(batch, target_rate, average_rate)


DQN_CLASSES: dict[str, type[DQN]] = {
    "quantiles": QuantileDQN,
    "logistic": LogisticDQN,
    "shifted frames": ShiftingDQN,
}


# --- Variations --------------------------------------------------------------------------------------------


def decision_every(frames: int) -> list[str]:
    """Another decision interval. The frames of an observation stay as far apart as possible, returns stay
    10 game frames long, and a second is discounted by the same factor."""
    ratio = frames / 2  # to the recipe's interval
    return [
        f"env.decision_interval_frames={frames}",
        f"env.stack_stride={max(1, 4 // frames)}",
        f"dqn.n_step={round(5 / ratio)}",
        f"dqn.discount={0.99**ratio}",
    ]


# Each as changes to the recipe, in the form of --set.
VARIATIONS: dict[str, list[str]] = {
    "default": [],
    "1 step": ["dqn.n_step=1"],
    "10 steps": ["dqn.n_step=10"],
    "20 steps": ["dqn.n_step=20"],
    "returns not cut": ["dqn.cut_returns=false"],
    "2 samples per insert": ["dqn.samples_per_insert=2"],
    "4 samples per insert": ["dqn.samples_per_insert=4"],
    "compact network": ["dqn.network.torso=compact"],
    "Nature network": ["dqn.network.torso=nature"],
    "tutorial network": ["dqn.network.torso=tutorial"],
    "not dueling": ["dqn.network.dueling=false"],
    "not double": ["dqn.double=false"],
    "bfloat16": ["dqn.precision=bfloat16"],
    "layer norm": ["dqn.network.layer_norm=true"],
    "batches of 16": ["dqn.batch_size=16"],
    "batches of 64": ["dqn.batch_size=64"],
    "exploration for a quarter": ["dqn.exploration.epsilon_knee_at=0.25"],
    "rate 1e-4": ["dqn.learning_rate=1e-4"],
    "rate 1e-3": ["dqn.learning_rate=1e-3"],
    "white is 1": ["dqn.network.input_range=[0, 1]"],
    "random actions of one step": [
        "dqn.exploration.duration_exponent=null",
        "dqn.exploration.action_weights=[0.75, 0.1, 0.15]",
    ],
    "discount 0.96": ["dqn.discount=0.96", "dqn.network.initial_value=0.25"],
    "initial values of 0": ["dqn.network.initial_value=0"],
    "16 games": ["env.num_envs=16", "env.greedy_envs=4"],
    "stack of 2": ["env.stack_size=2"],
    "uniform replay": ["dqn.replay.priority_exponent=0", "dqn.replay.importance_exponent=0"],
    "replay of 100,000": ["dqn.replay.capacity=100000"],
    "one greedy game": ["env.greedy_envs=1"],
    "online network acts": ["dqn.acting_network=online"],
    "target network acts": ["dqn.acting_network=target"],
    "average over 0.3": ["dqn.average_share=0.3"],
    "all games from the start": [
        "env.variation.random_start_share=0",
        "env.variation.full_speed_share=0",
        "env.variation.constant_speed_share=0",
        "env.variation.max_frames=null",
    ],
    "nights as in the game": ["env.variation.night_every=null"],
    "x up to 50": ["env.variation.dino_x=[0, 50]"],
    "no rewinding": ["env.variation.rewind_share=0"],
    "gaps as in the game": ["env.variation.tight_gaps_share=0"],
    "birds as in the game": ["env.variation.bird_odds=null"],
    "no delays": ["env.variation.delay_concentrations=[]"],
    "even frames": ["env.variation.frame_jitter_ms=null", "env.variation.long_frame_share=[0, 0]"],
    "decision every frame": decision_every(1),
    "decision every 3 frames": decision_every(3),
    "decision every 4 frames": decision_every(4),
    "tutorial reward": ["env.reward=tutorial"],
    "no epsilon floors": ["dqn.exploration.epsilon_floors=null"],
    "uniform random actions": ["dqn.exploration.action_weights=[]"],
    **{name: [] for name in DQN_CLASSES},
}


class LastValidation(Validation):
    """A validation at the end of a run. Its games end at `CAP`, however short the run is."""

    def max_score(self, run: Run) -> int:
        return CAP


def train(name: str, seed: int, steps: int, games: int, directory: Path) -> dict[str, float]:
    """Train one variation on one core, unless that was done before. Returns its validation: greedy games on
    held-out seeds."""
    run_dir = directory / f"{name.replace(' ', '-')}-{seed}"
    table = run_dir / "validations.csv"
    if not read_table(table):  # there is none, or the run was interrupted
        use_one_thread()
        DQNAgent.dqn_class = DQN_CLASSES.get(name, DQN)
        length = {"seed": seed, "steps": steps, "validations": 0}
        config = choose(preset_name="dino", run=length, overrides=VARIATIONS[name])
        last = replace(config.run, validations=1, validation_games=games)
        validation = LastValidation(make_task(config.env), last)
        with make_run(config, run_dir, [validation], command=" ".join(sys.argv)) as run:
            run.run()
    return {column: values[-1] for column, values in read_table(table).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, default=list(VARIATIONS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--games", type=int, default=20, help="at the end (default: %(default)s)")
    parser.add_argument("--dir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--concurrent", type=int, default=2, help="runs at a time, one core each")
    options = parser.parse_args()
    console = Console()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.concurrent, spawn, max_tasks_per_child=1) as pool:
        running: dict[Future, tuple[str, int]] = {
            pool.submit(train, name, seed, options.steps, options.games, options.dir): (name, seed)
            for name in options.only
            for seed in options.seeds
        }
        for future in as_completed(running):
            result = future.result()
            console.print(f"{running[future]}: mean {result['mean']:,.0f}, {result['capped']:.0f} at the cap")
    console.print(f"| run | {' | '.join(f'seed {seed}' for seed in options.seeds)} | mean | at the cap |")
    console.print("|---" * (len(options.seeds) + 3) + "|")
    for name in options.only:
        results = [future.result() for future, (trained, _) in running.items() if trained == name]
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
