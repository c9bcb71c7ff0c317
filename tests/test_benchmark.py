"""The benchmark measures what it says, on the real thing."""

import pytest

from dino_rl.backend import tf, use_one_thread
from dino_rl.benchmark.speed import Figure, Scaling, measure

pytestmark = pytest.mark.browser


def test_every_figure_is_measured(no_new_browsers):
    results = list(measure(0.2, decisions=40, games=(2,)))
    assert [(row.games, row.browsers) for row in results if isinstance(row, Scaling)] == [(2, 1), (2, 2)]
    figures = {figure.name: figure.value for figure in results if isinstance(figure, Figure)}
    assert min(figures.values()) >= 0
    assert figures["lock-step over the tutorial's calls"] > 1
    assert "live: frame to key, median of 40" in figures  # a key for every decision, and none besides
    assert figures["live: frames per second of the page"] > 30


def test_using_one_thread_later_changes_nothing():
    tf.zeros(1).numpy()
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    use_one_thread()
    assert tf.config.threading.get_intra_op_parallelism_threads() == threads
