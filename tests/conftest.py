"""Shared by all tests: browsers, a model, the command line, and a watch over what is left behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package is tested where it lies

SESSION_MARK = "DINO_RL_TEST_SESSION"
BROWSER_NAMES = ("chrom", "google-chrome")  # how the names of browser and driver processes begin

# A script's background ignores SIGINT, and so would the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Only tests that need one import what starts a browser: `pytest tests/test_replay.py` stays quick.


@pytest.fixture(scope="session", autouse=True)
def session_dir(tmp_path_factory):
    """A cache and a temporary directory of this session's own; no browser may outlive it, and nothing may be
    left in its temporary directory."""
    directory = tmp_path_factory.mktemp("session")
    # A short path: a browser's socket is below it, and the system limits the length of its path.
    profiles = Path(tempfile.mkdtemp(prefix="dino-test-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(profiles))
        patch.setenv(SESSION_MARK, uuid.uuid4().hex)
        patch.setenv("DINO_RL_CACHE", str(directory / "cache"))
        patch.setenv("TMPDIR", str(profiles))  # where chromedriver puts the browsers' profiles
        patch.setenv("SB3_LOGDIR", str(directory / "sb3"))  # these two have no directory of a run's own
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(directory / "torch"))
        for name in ("CHROME_BINARY", "SE_CHROMEDRIVER"):
            patch.delenv(name, raising=False)
        yield directory
        left = [describe(process) for process in still_running(browser_processes())]
    files = temporary_files(profiles)
    shutil.rmtree(profiles, ignore_errors=True)
    assert not left, f"browsers outlived the tests: {left}"
    assert not files, f"temporary files outlived the tests: {files}"


def temporary_files(directory: Path, patience_s: float = 5) -> list[str]:
    """What is left in a temporary directory after a while, in which watchdogs may still clean up."""
    deadline = time.monotonic() + patience_s
    while (names := sorted(path.name for path in directory.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return names


def browser_processes() -> list[psutil.Process]:
    """Every browser and driver process that this session started, orphans included.

    Processes inherit the session's mark in their environment. Browsers overwrite their children's, whose
    command line then names the profile below the session's TMPDIR.
    """
    mark, profiles = os.environ[SESSION_MARK], os.environ["TMPDIR"]
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if not process.info["name"].lower().startswith(BROWSER_NAMES):
                continue
            ours = process.environ().get(SESSION_MARK) == mark
            if (ours or profiles in " ".join(process.cmdline())) and runs(process):
                found.append(process)
    return found


def runs(process: psutil.Process) -> bool:
    """Whether a process has not ended. (In a container, what has ended may wait long to be cleared away.)"""
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def still_running(processes: list[psutil.Process], patience_s: float = 5) -> list[psutil.Process]:
    """Those that have not ended after a while."""
    deadline = time.monotonic() + patience_s
    while any(map(runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return list(filter(runs, processes))


def describe(process: psutil.Process) -> str:
    """For messages."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    return f"{process.pid} (gone)"


def ancestors(process: psutil.Process) -> set[int]:
    """Process ids of all parents."""
    with contextlib.suppress(psutil.Error):
        return {parent.pid for parent in process.parents()}
    return set()


@pytest.fixture
def no_new_browsers():
    """The test must end every browser that it starts.

    The browsers that all tests share start helpers of their own at any time; those are not the test's.
    """
    before = {process.pid for process in browser_processes()}
    yield
    left = still_running(
        [process for process in browser_processes() if not before & {process.pid, *ancestors(process)}]
    )
    assert not left, f"left behind: {[describe(process) for process in left]}"


# --- Browsers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def game():
    """One lock-step game. A test restarts it, and leaves the page as it found it."""
    from dino_rl.browser import Game

    with Game() as game:
        yield game


@pytest.fixture(scope="session")
def arena():
    """Three lock-step games in one page."""
    from dino_rl.browser import Arena

    with Arena(3) as arena:
        yield arena


def script_of_actions(seed: int, count: int) -> list[int]:
    """Actions as a careless player takes them: each is held for some steps."""
    rng = np.random.default_rng(seed)
    actions: list[int] = []
    while len(actions) < count:
        actions += [int(rng.choice(3, p=(0.5, 0.3, 0.2)))] * int(rng.integers(1, 8))
    return actions[:count]


@pytest.fixture
def unseen_window(monkeypatch):
    """As if there were a display: what asks for a window gets a browser with one that nobody sees."""
    from dino_rl.browser import chrome

    monkeypatch.setattr(chrome, "QUIET_ARGUMENTS", (*chrome.QUIET_ARGUMENTS, "--headless=new"))
    monkeypatch.setenv("DISPLAY", ":0")


# --- Models --------------------------------------------------------------------------------------------


def write_model(
    path: Path, shape=(80, 80, 4), num_actions=3, torso="compact", dtype=np.uint8, env=None
) -> Path:
    """An untrained model with its card."""
    from dino_rl.backend import keras
    from dino_rl.envs.registry import make_task
    from dino_rl.experiment import model_card
    from dino_rl.player import build_network
    from dino_rl.presets import preset
    from dino_rl.runs.model_file import save_model

    config = preset("dino")
    config = replace(
        config,
        env=env or replace(config.env, num_actions=num_actions),
        dqn=replace(config.dqn, network=replace(config.dqn.network, torso=torso)),
    )
    keras.utils.set_random_seed(0)
    network = build_network(config, shape, num_actions)
    card = model_card(config, make_task(config.env))
    facts = {
        "observation_shape": shape,
        "observation_dtype": np.dtype(dtype).name,
        "num_actions": num_actions,
    }
    save_model(path, network, card | facts)
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """A small untrained model that plays Dino. Read only: tests that change it copy it first."""
    return write_model(tmp_path_factory.mktemp("model") / "untrained.h5")


# --- Videos --------------------------------------------------------------------------------------------


def video_facts(path: Path) -> tuple[int, tuple[int, int], float]:
    """Frames, (width, height) and frames per second of a video, which must be one that opens everywhere:
    H.264 in yuv420p, of even sizes, its index (moov) before its frames (mdat)."""
    import imageio_ffmpeg

    described = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "null", "-"], capture_output=True, text=True
    ).stderr
    stream = next(line for line in described.splitlines() if "Stream #0:0" in line)
    assert "Video: h264" in stream
    assert "yuv420p" in stream
    width, height = map(int, re.search(r" (\d+)x(\d+)[ ,]", stream).groups())
    assert width % 2 == height % 2 == 0
    boxes = mp4_boxes(path.read_bytes())
    assert boxes.index("moov") < boxes.index("mdat")
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    return frames, (width, height), float(re.search(r"([\d.]+) fps", stream).group(1))


def mp4_boxes(data: bytes) -> list[str]:
    """Names of the outermost boxes, in order (ISO/IEC 14496-12: size, name, content)."""
    names, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        names.append(data[at + 4 : at + 8].decode())
        if size == 1:  # a large box has its size behind its name
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        assert size >= 8, "a box that ends before it begins"
        at += size
    return names


# --- The command line ----------------------------------------------------------------------------------


@pytest.fixture
def cli(capfd):
    """`cli("train", "--steps", 5)` -> (exit code, stdout, stderr), in this process."""
    from dino_rl.cli.main import main

    def run(*arguments) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


def command(*arguments, program: str = "run_dino.py", **environment) -> subprocess.Popen:
    """The command line in a process of its own, as a user starts it. An environment value of None unsets."""
    env = {**os.environ, **{k: v for k, v in environment.items() if v is not None}}
    for name in (name for name, value in environment.items() if value is None):
        env.pop(name, None)
    return subprocess.Popen(
        [sys.executable, str(ROOT / program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def finish(process: subprocess.Popen, timeout_s: float = 120) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a `command`; one that does not end is interrupted, then killed."""
    try:
        output = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            output = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()
        pytest.fail(f"did not end within {timeout_s} s; it said: {output}")
    return process.returncode, *output


def wait_for(happened: Callable[[], bool], process: subprocess.Popen, timeout_s: float = 60):
    """Until something has happened that a `command` does, which must not end before."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"nothing within {timeout_s} s"
        assert process.poll() is None, finish(process)
        time.sleep(0.05)


def files_below(directory: Path) -> dict[str, bytes]:
    """Everything in a directory, to be compared with what is there later."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


def project_files() -> list[Path]:
    """All files of the project: what lies here but environments, runs, caches and what git keeps."""
    left_out = {"runs", "videos", "build", "dist"}  # at the top only: dino_rl/runs is a package
    rooms = [path for path in ROOT.iterdir() if path.name not in left_out and not path.name.startswith(".")]
    files = [path for room in rooms for path in ([room] if room.is_file() else room.rglob("*"))]
    return [path for path in files if path.is_file() and path.parent.name != "__pycache__"]
