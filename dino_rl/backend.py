"""TensorFlow and Keras, as all of this project uses them: `from dino_rl.backend import keras, tf`."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Read when TensorFlow is imported. oneDNN's convolutions are faster than its own; by itself it takes them on
# the newest CPUs only.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Where there is no oneDNN, XLA has the faster convolutions: docs/performance.md.
XLA_CONVOLUTIONS = platform.machine() not in ("x86_64", "AMD64")


@contextmanager
def _without_greetings() -> Iterator[None]:
    """What TensorFlow's C++ says while it is loaded, no setting of its log holds back."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _without_greetings():
    import keras
    import tensorflow as tf

__all__ = ["XLA_CONVOLUTIONS", "keras", "share_cores", "tf"]


def share_cores():
    """One thread for TensorFlow: this process is one of several that play or learn on the machine, or plays
    one live game, whose browser needs the other core. To be called before TensorFlow's first operation; later
    it changes nothing."""
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
