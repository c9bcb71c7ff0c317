"""A Ray cluster to run on: one that is running already, or one on this machine for this process only."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import ray
from ray._private import ray_constants

from dino_rl.errors import DinoError, first_line

# Ray obeys anyone who reaches its ports: our own cluster listens on this machine only.
LOOPBACK = "127.0.0.1"


@contextmanager
def cluster(address: str | None = None, workers: int = 1) -> Iterator[None]:
    """Join a Ray cluster, or start one that ends with this context.

    Args:
        address: of a running cluster (`HOST:PORT`, or `auto` for the one on this machine). None: start one
            on loopback.
        workers: processes that run at the same time. Ray counts each as one CPU. A cluster that is started
            here claims at least as many CPUs, because most workers wait for a browser or for the learner.

    Raises:
        DinoError: there is no cluster at `address`, or none can be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ray's default, set to silence a warning: a process that requests no GPU can still see one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    before = set(psutil.Process().children(recursive=True))
    if address and address != "auto":
        _check_that_something_listens(address)
    # With this constant, Ray replaces 127.0.0.1 by the machine's own address: our own cluster would listen to
    # everybody, and a running one that listens on loopback only would not be found.
    on_loopback = address is None or address.rpartition(":")[0] == LOOPBACK
    ray_constants.ENABLE_RAY_CLUSTER = not on_loopback
    try:
        if address:
            ray.init(address, **quiet)
        else:
            ray.init(
                "local",  # otherwise Ray joins any cluster that it finds on the machine
                _node_ip_address=LOOPBACK,
                include_dashboard=False,
                num_cpus=max(workers, os.cpu_count() or 1),
                **quiet,
            )
    except Exception as error:  # Ray raises this very class when a busy machine starts too slowly
        for process in set(psutil.Process().children(recursive=True)) - before:
            with suppress(psutil.Error):
                process.kill()  # Ray leaves them behind
        raise _no_cluster(address, first_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()
        ray_constants.ENABLE_RAY_CLUSTER = True


def _check_that_something_listens(address: str):
    """Ray itself waits for minutes before it reports that nothing does."""
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
