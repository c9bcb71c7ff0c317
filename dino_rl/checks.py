"""Checks of everything that a run needs: what is there, or what to do. Any check may fail without the others.

Nothing outside the standard library is imported at the top: the checks must run where packages are missing.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from dino_rl.display import has_display
from dino_rl.errors import DinoError, first_line
from dino_rl.program import how_to_add_ray, how_to_install
from dino_rl.resources import IS_CHECKOUT, ROOT

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)  # what TensorFlow has wheels for: pyproject.toml
LITTLE_MEMORY_GB, LITTLE_DISK_GB = 2.0, 1.0
LITTLE_SHM_MB = 128  # containers have 64 MB by default, which a browser with many pages fills
TENSORFLOW_TIMEOUT_S, FFMPEG_TIMEOUT_S = 300, 30
BUILDS = ("tensorflow-cpu", "tensorflow")  # either provides TensorFlow
KNOWN_TO_WORK = "tested with" if IS_CHECKOUT else "accepted:"
GPU_HINT = (
    "`make setup-gpu` installs TensorFlow with CUDA"
    if IS_CHECKOUT
    else "`pip uninstall tensorflow-cpu`, then `pip install 'tensorflow[and-cuda]'`"
)

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    """What was looked at."""
    status: Status
    """"ok"; "note": a run works, but not everything does; "problem": no run, or none of some kind, works."""
    text: str
    """What was found, or what to do."""


def all_checks() -> Iterator[Check]:
    """All checks, each as soon as it is done. Starts a browser, and TensorFlow in a process of its own."""
    yield from _guarded("python", _python)
    yield from _guarded("packages", _packages)
    browser = list(_guarded("browser", _browser))
    yield from browser
    if all(check.status != "problem" for check in browser):
        yield from _guarded("game", _game)
    yield from _guarded("tensorflow", _tensorflow)
    yield from _guarded("machine", _machine)
    if sys.platform == "linux":
        yield from _guarded("/dev/shm", _shared_memory)
    yield from _guarded("display", _display)
    yield from _guarded("cache", _cache)
    yield from _guarded("temporary", _temporary)
    yield from _guarded("runs", _runs)
    yield from _guarded("ffmpeg", _ffmpeg)
    yield from _guarded("ray", _ray)


def _guarded(name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The results of a check; of one that fails, the reason as a result."""
    try:
        yield from check()
    except DinoError as error:
        yield Check(name, "problem", str(error))
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        yield Check(name, "problem", f"{package} is not installed: {how_to_install(package)}.")
    except Exception as error:  # noqa: BLE001 - whatever is wrong here, the other checks go on
        yield Check(name, "problem", f"the check failed: {type(error).__name__}: {first_line(error)}")


# --- Python and its packages -------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()}, {sys.executable}"
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON or sys.maxsize < 2**32:
        oldest, newest = (".".join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON))
        yield Check("python", "problem", f"{found}: use Python {oldest} to {newest}, 64 bits.")
    else:
        yield Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    """Installed versions beside the tested ones, which a checkout knows, or those that the installed package
    accepts. One line, and one for each package that deviates."""
    count, deviating = 0, []
    for name, wanted, specifier in _requirements("requirements.txt", ""):
        count += 1
        installed = _version(name)
        if not installed:
            deviating.append(Check(name, "problem", f"not installed: {how_to_install(name)}."))
        elif not specifier.contains(installed, prereleases=True):
            deviating.append(Check(name, "note", f"{installed}; {KNOWN_TO_WORK} {wanted}."))
    of = f"{count - len(deviating)} of {count}"
    are = "have the versions that were tested together" if IS_CHECKOUT else "have versions that are accepted"
    yield Check("packages", "ok", f"{of} {are}")
    yield from deviating


def _requirements(file: str, extra: str) -> Iterator[tuple[str, str, Any]]:
    """Name, tested versions as text, and as a specifier, of what applies here: in a checkout from a file of
    requirements, else from the metadata of the installed package."""
    from packaging.requirements import Requirement

    if IS_CHECKOUT:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    else:
        lines = metadata.requires("dino-rl") or []
    for line in lines:
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            requirement = Requirement(text)
            is_of_extra = "extra ==" in str(requirement.marker)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if applies and (IS_CHECKOUT or is_of_extra == bool(extra)):
                yield requirement.name, str(requirement.specifier).removeprefix("=="), requirement.specifier


def _version(package: str) -> str:
    """The installed version of a package, "" if there is none."""
    for name in BUILDS if package in BUILDS else (package,):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def _ray() -> Iterator[Check]:
    if find_spec("ray") is None:
        yield Check("ray", "ok", f"not installed; for --engine ray or rllib, and tune, {how_to_add_ray()}")
        return
    for name, wanted, specifier in _requirements("requirements-ray.txt", "ray"):
        installed = _version(name)
        if installed and specifier.contains(installed, prereleases=True):
            yield Check(name, "ok", installed)
        else:
            yield Check(name, "note", f"{installed or 'not installed'}; {KNOWN_TO_WORK} {wanted}.")


# --- The browser -------------------------------------------------------------------------------------------


def _browser() -> Iterator[Check]:
    from dino_rl.browser.chrome import find_browser, find_driver, version_of

    binary = find_browser()
    version = version_of(binary)
    if not version:
        raise DinoError(f"{binary} does not tell its version: reinstall it, or set CHROME_BINARY.")
    yield Check("browser", "ok", f"{version}, {binary}")
    driver = find_driver()
    if not driver:
        yield Check("driver", "note", "none is installed: one is downloaded at the first start.")
        return
    driver_version = version_of(driver)
    if driver_version.partition(".")[0] == version.partition(".")[0]:
        yield Check("driver", "ok", f"{driver_version}, {driver}")
    else:
        text = f"{driver_version or 'no version'}, {driver}: install the driver for the browser's version."
        yield Check("driver", "problem", text)


def _game() -> Iterator[Check]:
    """Takes the page from the browser, plays two seconds of a game, and looks at how the browser runs."""
    from dino_rl.browser import Arena
    from dino_rl.browser.game_settings import GameSettings

    started = time.monotonic()
    with Arena(1) as arena:
        start = arena.step(resets={0: (0, GameSettings())})
        end = arena.step([1], 120)
        if end.scores[0] <= start.scores[0] or (end.frames == start.frames).all():
            raise DinoError("The game started, but did not move: another version of the browser may help.")
        yield Check("game", "ok", f"taken from the browser and started in {time.monotonic() - started:.1f} s")
        yield _sandbox(arena.browser.pid)


def _sandbox(driver_pid: int) -> Check:
    """Whether the browser that runs has its sandbox."""
    import psutil

    is_off = False
    for process in psutil.Process(driver_pid).children(recursive=True):
        with suppress(psutil.Error):
            is_off |= "--no-sandbox" in process.cmdline()
    if is_off:
        return Check("sandbox", "note", "off, because Chrome has none for root: run this as another user.")
    return Check("sandbox", "ok", "on")


# --- TensorFlow and the machine ----------------------------------------------------------------------------


def _tensorflow() -> Iterator[Check]:
    """In another process: where TensorFlow does not fit the CPU, it takes its process down."""
    here = str(Path(__file__).resolve().parents[1])
    # Without the current directory, whose files may have the names of modules.
    code = f"import sys; sys.path[:] = [*filter(None, sys.path), {here!r}]\n"
    code += "from dino_rl.checks import compute; compute()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TENSORFLOW_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise DinoError(f"TensorFlow did not start within {TENSORFLOW_TIMEOUT_S} s.") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise DinoError(f"TensorFlow crashes ({name}): its builds need a CPU with AVX, and memory.")
    if done.returncode:
        reason = ([line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"])[-1]
        raise DinoError(f"TensorFlow does not compute ({reason.strip()}): {how_to_install('tensorflow')}.")
    found = json.loads(done.stdout.splitlines()[-1])
    text = f"{found['tensorflow']} with Keras {found['keras']} computes on {found['device']}"
    if "GPU" not in found["device"] and Path("/proc/driver/nvidia/version").exists():
        yield Check("tensorflow", "note", f"{text}. This machine has an NVIDIA GPU: {GPU_HINT}.")
    else:
        yield Check("tensorflow", "ok", text)


def compute() -> None:
    """Multiply two matrices, and print the versions and the device as JSON."""
    from dino_rl.backend import keras, tf

    ones = tf.ones((256, 256))
    product = tf.linalg.matmul(ones, ones)
    if float(product[0, 0]) != 256.0:
        raise ArithmeticError("a product of matrices is wrong")
    device = product.device.partition("device:")[2]
    print(json.dumps({"tensorflow": tf.__version__, "keras": keras.__version__, "device": device}))


def _machine() -> Iterator[Check]:
    import psutil

    from dino_rl.machine import usable_cores

    memory = psutil.virtual_memory()
    total, available = memory.total / 1e9, memory.available / 1e9
    limit = _container_limit_gb()
    if limit and limit < total:
        total, available = limit, min(available, limit)
    text = f"{usable_cores()} cores, {available:.1f} of {total:.1f} GB of memory available"
    if available < LITTLE_MEMORY_GB:
        text += ": training the Dino needs more; a smaller --set dqn.replay.capacity saves memory."
    yield Check("machine", "note" if available < LITTLE_MEMORY_GB else "ok", text)


def _container_limit_gb() -> float | None:
    """The memory limit of this container, if it has one."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return int(Path(path).read_text()) / 1e9
    return None


def _shared_memory() -> Iterator[Check]:
    path = "/dev/shm"
    if not os.access(path, os.W_OK):
        raise DinoError("nothing can be written there, and Chrome needs it: mount a tmpfs.")
    usage = shutil.disk_usage(path)
    text = f"{usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free"
    if usage.free < LITTLE_SHM_MB * 1e6:
        yield Check(path, "note", f"{text}, few for Chrome: docker run has --shm-size=1g.")
    else:
        yield Check(path, "ok", text)


def _display() -> Iterator[Check]:
    if has_display():
        name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "the system's own"
        yield Check("display", "ok", name)
    else:
        yield Check("display", "ok", "none: play draws the game on the terminal, and videos need none")


# --- Files -------------------------------------------------------------------------------------------------


def _cache() -> Iterator[Check]:
    from dino_rl.browser.page import cache_dir
    from dino_rl.runs.output import problem_of_writing

    path = cache_dir()
    problem = problem_of_writing(path)
    if problem:
        text = f"{path} ({problem}): set DINO_RL_CACHE to a directory that you can write to."
        yield Check("cache", "note", text)
    else:
        yield Check("cache", "ok", str(path))


def _temporary() -> Iterator[Check]:
    try:
        path = tempfile.gettempdir()
    except OSError as error:
        raise DinoError("No directory for temporary files can be written: set TMPDIR to one.") from error
    free_gb = shutil.disk_usage(path).free / 1e9
    if free_gb < LITTLE_DISK_GB:
        yield Check(
            "temporary", "note", f"{path}: {free_gb:.1f} GB are free; set TMPDIR to another directory."
        )
    else:
        yield Check("temporary", "ok", f"{path}, {free_gb:.1f} GB free")


def _runs() -> Iterator[Check]:
    from dino_rl.runs.output import problem_of_writing

    path = Path("runs").absolute()  # where `train` writes unless it is told otherwise
    problem = problem_of_writing(path)
    if problem:
        raise DinoError(f"{path} ({problem}): change to another directory, or use --run-dir.")
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < LITTLE_DISK_GB:
        yield Check("runs", "note", f"{path}: {free_gb:.1f} GB are free; a checkpoint can need one.")
    else:
        yield Check("runs", "ok", f"{path}, {free_gb:.1f} GB free")


def _ffmpeg() -> Iterator[Check]:
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run(
            [program, "-encoders"], capture_output=True, text=True, timeout=FFMPEG_TIMEOUT_S, errors="replace"
        )
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise DinoError(
            f"ffmpeg does not run ({first_line(error)}): {how_to_install('imageio-ffmpeg')}."
        ) from error
    version = re.search(r"ffmpeg version (\S+)", done.stderr)
    missing = [name for name in ("libx264", "libwebp") if name not in done.stdout]
    text = f"{version.group(1) if version else 'unknown version'}, {program}"
    if missing:
        text += f": it has no {' and no '.join(missing)}; unset IMAGEIO_FFMPEG_EXE for one that has."
    yield Check("ffmpeg", "note" if missing else "ok", text)
