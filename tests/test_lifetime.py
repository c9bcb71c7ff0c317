"""Every way in which an environment may end leaves nothing: no browser, no thread, no open file."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import ROOT, still_running

from dino_rl.browser.release import release_with
from dino_rl.envs import DINO_ID, DinoEnv, DinoVectorEnv
from dino_rl.errors import BrowserError

browser = pytest.mark.browser


# --- Releasing -------------------------------------------------------------------------------------------


class Owner:
    """Something that owns a resource."""


def test_a_resource_is_released_once():
    released = []
    owner = Owner()
    release = release_with(owner, released.append, "resource")
    assert release.alive
    release()
    release()
    del owner
    assert released == ["resource"]


def test_a_dropped_owner_releases_its_resource():
    released = []
    owner = Owner()
    release_with(owner, released.append, "resource")
    del owner
    assert released == ["resource"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_releases_nothing():
    read, write = os.pipe()
    owner = Owner()
    release = release_with(owner, os.write, write, b"released")
    child = os.fork()
    if child == 0:
        release()
        os._exit(0)
    os.waitpid(child, 0)
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 8)
    release()
    assert os.read(read, 8) == b"released"
    os.close(read)
    os.close(write)


# --- Environments ----------------------------------------------------------------------------------------

MAKE = {
    "many": lambda: DinoVectorEnv(2),
    "many in two browsers": lambda: DinoVectorEnv(2, browsers=2),
    "one": DinoEnv,
    "one, live": lambda: DinoEnv("live"),
}


def step(env):
    env.step(np.zeros(2, int) if isinstance(env, DinoVectorEnv) else 0)


def open_things() -> tuple[int, int]:
    """Threads, and file descriptors."""
    gc.collect()
    return threading.active_count(), psutil.Process().num_fds()


@browser
@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_dropped_environment_leaves_nothing(kind, no_new_browsers):
    MAKE[kind]().close()  # the first start opens what stays open: a log, a random device
    before = open_things()
    env = MAKE[kind]()
    env.reset(seed=1)
    step(env)
    gone = weakref.ref(env)
    del env
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 2
    while open_things() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_things() <= before


@browser
@pytest.mark.parametrize("kind", MAKE)
def test_a_closed_environment_says_so_in_one_line(kind, no_new_browsers):
    env = MAKE[kind]()
    env.reset(seed=1)
    env.close()
    env.close()  # twice is no error
    env.render_mode = "rgb_array"
    for use in (lambda: step(env), lambda: env.reset(seed=1), env.reset, env.render):
        with pytest.raises(BrowserError, match=r"^The browser is closed: make a new environment\.$"):
            use()
    env.close()


ENDINGS = {
    "the end of a script": ("", 0),
    "an exception": ("raise ValueError('mine')", 1),
    "exit": ("raise SystemExit(3)", 3),
    "in a reference cycle": ("class A: pass\na = A(); a.me, a.env = a, env; del a, env", 0),
    "in a thread": ("import threading; threading.Thread(target=env.step, args=(action,)).start()", 0),
    "dropped": ("del env", 0),
}


@browser
@pytest.mark.parametrize("kind", ["make", "make_vec"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_does_not_close_its_environment_ends(ending, kind, no_new_browsers):
    code, expected = ENDINGS[ending]
    make = {"make": f"make('{DINO_ID}')", "make_vec": f"make_vec('{DINO_ID}', num_envs=2)"}[kind]
    script = f"""
import gymnasium, dino_rl.envs
env = gymnasium.{make}
env.reset(seed=1)
action = env.action_space.sample()
print("started", flush=True)
{code}"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "started\n"
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == expected
    assert err == "" or (expected == 1 and err.rstrip().endswith("ValueError: mine"))


@browser
def test_what_outlives_owner_and_watchdog_is_ended_by_the_next_start(no_new_browsers):
    """Both were killed, so nobody ended the browser; it goes on writing to its temporary directory."""
    script = f"""
import gymnasium
env = gymnasium.make("dino_rl:{DINO_ID}")
env.reset(seed=1)
print(1, flush=True)
input()"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert owner.stdout.readline() == b"1\n"
    started = psutil.Process(owner.pid).children(recursive=True)
    (watchdog,) = (process for process in started if "watchdog.py" in " ".join(process.cmdline()))
    for process in (watchdog, owner):
        process.kill()
    owner.communicate()
    browsers = still_running([process for process in started if process != watchdog], patience_s=1)
    assert browsers
    DinoEnv().close()
    assert not still_running(browsers)
    assert not list(Path(tempfile.gettempdir()).glob(f"dino-rl-{owner.pid}-*"))


@browser
def test_environments_in_processes_of_gymnasium(no_new_browsers):
    """`AsyncVectorEnv` forks; each of its processes has a browser of its own."""
    env = gymnasium.make_vec(DINO_ID, num_envs=2, vectorization_mode="async")
    try:
        _, infos = env.reset(seed=3)
        assert infos["seed"].tolist() == [3, 4]
        observations, *_ = env.step(np.array([0, 1]))
        assert observations.shape == (2, 80, 80, 4)
    finally:
        env.close()
