"""What this process can have of the machine, and of the container that it is in: memory and cores."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
# Files with the limit, what is used of it, and what of that can be given up (the cache of files).
VERSIONS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_bytes() -> int:
    """Memory that this process can still have, without swap."""
    limits = [psutil.virtual_memory().available]
    for controller, names in VERSIONS.items():
        with suppress(OSError, ValueError, KeyError):  # "max" is no number: there is no limit
            limits.append(_left(CGROUP / controller, *names))
    return max(0, min(limits))


def _left(directory: Path, limit: str, used: str, cache: str) -> int:
    numbers = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
    total = int((directory / limit).read_text())
    return total - int((directory / used).read_text()) + int(numbers[cache])
