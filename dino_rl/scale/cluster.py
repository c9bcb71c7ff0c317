"""A Ray cluster to run on: one that is there, or one of our own that ends with us."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import ray
from ray._private import ray_constants

from dino_rl.errors import DinoError

# Ray trusts whoever reaches its ports: our own cluster listens to this machine only.
LOOPBACK = "127.0.0.1"


@contextmanager
def cluster(address: str | None = None, workers: int = 1) -> Iterator[None]:
    """Be part of a Ray cluster; what is started here is gone afterwards.

    Args:
        address: of a running cluster (`HOST:PORT`, or `auto`: the one on this machine); None starts one on
            loopback.
        workers: processes that shall run side by side; Ray counts each as one CPU, and ours is told that it
            has that many, for most of them wait for a browser or for the learner.

    Raises:
        DinoError: there is no cluster at `address`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Work is for CPUs unless it asks for a GPU; hiding GPUs from what asks for none is Ray's future default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    before = set(psutil.Process().children(recursive=True))
    if address and address != "auto":
        _check_that_somebody_listens(address)
    # Otherwise Ray takes the machine's own address for 127.0.0.1: our own cluster would listen to everybody,
    # and one that listens on loopback alone would not be found.
    here = address is None or address.rpartition(":")[0] == LOOPBACK
    ray_constants.ENABLE_RAY_CLUSTER = not here
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init(
                "local",  # otherwise Ray joins whatever cluster it finds on the machine
                _node_ip_address=LOOPBACK,
                include_dashboard=False,
                num_cpus=max(workers, os.cpu_count() or 1),
                **quiet,
            )
    except Exception as error:  # this very class is what Ray raises when a busy machine starts slowly
        for process in set(psutil.Process().children(recursive=True)) - before:
            with suppress(psutil.Error):
                process.kill()  # Ray leaves them behind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _no_cluster(address, reason) from error
    try:
        yield
    finally:
        ray.shutdown()
        ray_constants.ENABLE_RAY_CLUSTER = True


def _check_that_somebody_listens(address: str):
    """Ray waits for minutes before it says that nobody does."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise DinoError(f"--ray-address is {address!r}: use HOST:PORT, or auto.")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str | None, reason: str) -> DinoError:
    where = f"at {address}" if address else "on this machine"
    return DinoError(f"No Ray cluster {where} ({reason}): see docs/scaling.md.")
