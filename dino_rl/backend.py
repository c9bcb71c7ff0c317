"""TensorFlow and Keras, for the whole project: `from dino_rl.backend import keras, tf`.

Both are imported at their first use. So the configuration beside an agent loads in milliseconds, and
`--help` does not wait for TensorFlow.
"""

import importlib
import importlib.util
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dino_rl.errors import DinoError

# Without oneDNN (not x86), XLA has the faster convolutions: docs/performance.md.
XLA_CONVOLUTIONS = platform.machine() not in ("x86_64", "AMD64")

log = logging.getLogger(__name__)
_loading = threading.RLock()


class _LazyModule:
    """A module that is imported when the first of its attributes is used."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(_load(self._name), attribute)
        setattr(self, attribute, value)  # from now on as fast as the module itself
        return value


keras: Any = _LazyModule("keras")
tf: Any = _LazyModule("tensorflow")


def _load(name: str) -> Any:
    with _loading:
        if name in sys.modules:
            return sys.modules[name]
        # Read when TensorFlow is imported. oneDNN's convolutions are faster than TensorFlow's own, which
        # enables them by itself on the newest CPUs only.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the shell says: the agents are TensorFlow's
        _refuse_a_garbled_path()
        from dino_rl.machine import usable_cores  # psutil, which not every user of this module needs

        started = time.monotonic()
        with _silent_stderr():
            tensorflow = importlib.import_module("tensorflow")
            if usable_cores() == 2:
                # The operations of an update are small: run beside each other, one core each, they are faster
                # than split in two (docs/lab-notebook.md, entry 41).
                _set_threads(tensorflow, within=1, between=2)
            module = importlib.import_module(name)
        log.debug("loaded %s in %.1f s", name, time.monotonic() - started)
        return module


def _refuse_a_garbled_path() -> None:
    """TensorFlow takes the paths of its own libraries as UTF-8, whatever encoding Python has for paths.

    Raises:
        DinoError: a path holds bytes that this encoding does not know.
    """
    spec = importlib.util.find_spec("tensorflow")
    path = (spec and spec.origin) or ""
    if any("\ud800" <= letter <= "\udfff" for letter in path):
        raise DinoError(
            f"TensorFlow cannot be loaded from {path!a}, whose letters are unknown to the encoding "
            f"{sys.getfilesystemencoding()} (set PYTHONUTF8=1)"
        )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow's C++ code writes to stderr while it is loaded, whatever its log level."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    if sys.stderr:
        sys.stderr.flush()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    os.close(devnull)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def use_one_thread():
    """Give TensorFlow one thread, in a process that shares the machine with others that play or learn, or
    with the browser of a live game. Has no effect after TensorFlow's first operation."""
    _set_threads(tf, within=1, between=1)


def _set_threads(tensorflow: Any, within: int, between: int):
    """Threads within an operation, and operations at a time."""
    with suppress(RuntimeError):  # after the first operation
        tensorflow.config.threading.set_intra_op_parallelism_threads(within)
        tensorflow.config.threading.set_inter_op_parallelism_threads(between)
