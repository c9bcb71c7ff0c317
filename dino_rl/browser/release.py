"""Release of processes, threads and sockets in every case: closed, dropped, or left open until the end."""

import os
import weakref
from collections.abc import Callable
from typing import Any


def release_with(owner: Any, release: Callable[..., Any], *arguments: Any) -> weakref.finalize:
    """Have `release(*arguments)` called once: when the returned object is called, when `owner` is
    garbage-collected, or when the interpreter exits, whichever comes first.

    A forked process has a copy of the owner, but the resource is its parent's: there nothing is released.

    Args:
        owner: the object that the resource belongs to.
        release, arguments: must not refer to `owner`, which would never be collected then.
    """
    return weakref.finalize(owner, _release, os.getpid(), release, arguments)


def _release(pid: int, release: Callable[..., Any], arguments: tuple[Any, ...]):
    if os.getpid() == pid:
        release(*arguments)
