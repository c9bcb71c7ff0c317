"""Make what `make play`, `make train` and `make test` need: .venv with its packages, and a browser.

    python3 scripts/setup_env.py [run | test | lint | ray | bench | gpu | browser]

`run` is what playing and training need; `test`, `lint` and `ray` (RLlib, Tune, torch) add to it. `gpu` is
`run` with the TensorFlow that computes on NVIDIA GPUs; .venv keeps it from then on. Each is done once and
skipped until a requirements file or this script changes. `browser` finds or installs a browser and nothing
else. Standard library only, and no syntax newer than Python 3.6, so that a Python too old for TensorFlow can
still say so in one line.
"""

import functools
import hashlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOG = VENV / "set-up.log"

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)  # what TensorFlow 2.21 has wheels for
FREE_DISK_GB = 3  # .venv takes 2 GB, the downloads on their way into it most of another

REQUIREMENTS = {
    "run": "requirements.txt",
    "test": "requirements-test.txt",
    "lint": "requirements-dev.txt",
    "ray": "requirements-ray.txt",
    "bench": "requirements-bench.txt",
    "gpu": "requirements.txt",
}
CPU_BUILD, GPU_BUILD = "tensorflow-cpu", "tensorflow[and-cuda]"  # two packages with the same files
_TORCH = "4 to 8 GB in .venv, for torch brings what GPUs need along"
SIZES = {"ray": _TORCH, "bench": _TORCH, "gpu": "many GB in .venv, for what GPUs need"}

BROWSERS = (
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "/snap/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    os.path.expandvars(r"%ProgramFiles%\Google\Chrome\Application\chrome.exe"),
    os.path.expandvars(r"%ProgramFiles(x86)%\Google\Chrome\Application\chrome.exe"),
    os.path.expandvars(r"%LocalAppData%\Google\Chrome\Application\chrome.exe"),
)
BROWSER_PACKAGES = (
    ("chromium", "chromium-driver", "chromium-sandbox"),  # Debian
    ("chromium",),  # Mint and others, with the driver inside or left to Selenium
    ("chromium-browser",),  # Ubuntu, where it stands for the snap
)
# The driver that goes with an installed package.
DRIVER_PACKAGES = {"chromium": "chromium-driver", "chromium-browser": "chromium-chromedriver"}


class SetupError(Exception):
    """Something the user can put right; its text is one line that says how."""


def main() -> int:
    group = sys.argv[1] if len(sys.argv) > 1 else "run"
    if len(sys.argv) > 2 or group not in [*REQUIREMENTS, "browser"]:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    started = time.monotonic()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path may have letters that the terminal does not know
            stream.reconfigure(errors="backslashreplace")
    try:
        if group == "browser":
            set_up_browser()
            return 0
        if is_ready(group):
            return 0
        python = "" if environment_works() else find_python()
        size = SIZES.get(group, "2 GB in .venv")
        print(f"Setting up, once: some minutes, {size}.", flush=True)
        if python:
            make_environment(python)
        # Before the packages: so that sudo asks at the start, and not after minutes of downloads.
        if not known_browser():
            stamp_path("browser").write_text(set_up_browser())
        for needed in ("run", group):
            if not stamp_is_current(needed):
                install_packages(needed, gpu=group == "gpu" or stamp_path("gpu").is_file())
    except SetupError as error:
        print(f"Set-up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nSet-up stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    print(f"Ready after {time.monotonic() - started:.0f} s.", flush=True)
    return 0


# What has been done already


def is_ready(group: str) -> bool:
    stamps = all(stamp_is_current(needed) for needed in ("run", group))
    return stamps and bool(known_browser()) and environment_works()


def stamp_path(name: str) -> Path:
    return VENV / f".set-up-{name}"


def stamp_text() -> str:
    inputs = [Path(__file__), *(ROOT / name for name in sorted(set(REQUIREMENTS.values())))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()


def stamp_is_current(group: str) -> bool:
    stamp = stamp_path(group)
    return stamp.is_file() and stamp.read_text() == stamp_text()


def known_browser() -> str:
    """Path of the browser that an earlier set-up saw running, if it is still there, else ''."""
    stamp = stamp_path("browser")
    path = stamp.read_text() if stamp.is_file() else ""
    return path if os.path.exists(path) else ""


# Python and .venv


def version_of(python: str) -> tuple:
    """(3, 11) and so on; () where the command does not run, as with a version manager's shim."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1], sys.maxsize > 2**32)"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    words = done.stdout.split()
    # A 32-bit Python counts as none: TensorFlow has no wheels for it.
    is_usable = done.returncode == 0 and words[2:] == [b"True"]
    return (int(words[0]), int(words[1])) if is_usable else ()


def is_supported(version: tuple) -> bool:
    return OLDEST_PYTHON <= version <= NEWEST_PYTHON


def find_python() -> str:
    """The Python that runs this, or another one on PATH, that TensorFlow has wheels for."""
    oldest, newest = OLDEST_PYTHON[1], NEWEST_PYTHON[1]
    others = [shutil.which(f"python3.{minor}") for minor in range(newest, oldest - 1, -1)]
    for python in [sys.executable, *others]:
        if python and is_supported(version_of(python)):
            return python
    raise SetupError(
        f"this is Python {sys.version.split()[0]}, {sys.maxsize.bit_length() + 1} bits; TensorFlow "
        f"needs 3.{oldest} to 3.{newest}, 64 bits: install one, then add PYTHON=its path to make"
    )


def environment_works() -> bool:
    """Whether .venv has pip and a Python that suits; a system upgrade can take that away."""
    if not VENV_PYTHON.exists() or not is_supported(version_of(str(VENV_PYTHON))):
        return False
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    return subprocess.run([str(VENV_PYTHON), "-c", code]).returncode == 0


def make_environment(python: str) -> None:
    version = "{}.{}".format(*version_of(python))
    is_foreign = VENV.exists() and not (VENV / "pyvenv.cfg").exists()
    if is_foreign and any(path != LOG for path in VENV.iterdir()):
        raise SetupError(f"{VENV} is no Python environment: move it away, then run this again")
    free_gb = shutil.disk_usage(str(ROOT)).free / 1e9
    if free_gb < FREE_DISK_GB:
        raise SetupError(f"{free_gb:.1f} GB are free in {ROOT}: make room for {FREE_DISK_GB} GB")
    say("python", f"{version}, {python}")
    failure = create_venv(python)
    if re.search("ensurepip|No module named", failure) and shutil.which("apt-get"):
        # Debian and Ubuntu keep this part of the standard library in a package of its own.
        failure = apt_install(f"python{version}-venv") or create_venv(python)
    if failure:
        reason = (failure.split("\n\n")[0].strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"{python} -m venv failed: {reason}")


def create_venv(python: str) -> str:
    """'' when .venv was made, else what Python said."""
    command = [python, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return "" if done.returncode == 0 else done.stdout or "no reason given"


# The browser


def set_up_browser() -> str:
    """Find or install a browser and its driver; returns the path of the browser."""
    browser = find_browser() or install_browser()
    package = next((name for name in DRIVER_PACKAGES if is_installed(name)), "")
    driver = os.environ.get("SE_CHROMEDRIVER") or shutil.which("chromedriver")
    if package and "chromium" in browser and not driver:
        # The package of the same version is the safer one; Selenium can fetch one too, so no error.
        try:
            failure = apt_install(DRIVER_PACKAGES[package])
        except SetupError as error:
            failure = str(error)
        if failure:
            say("driver", f"left to Selenium, which fetches one at the first start ({failure})")
    say("browser", f"{browser_version(browser) or 'found'}, {browser}")
    return browser


def find_browser() -> str:
    """Path of an installed browser that starts, or ''."""
    for name in (os.environ.get("CHROME_BINARY", ""), *BROWSERS):
        path = shutil.which(name)
        # Where Ubuntu's snap is missing, chromium-browser is only a script that says so.
        if path and (os.name == "nt" or browser_version(path)):
            return path
    return ""


def is_installed(package: str) -> bool:
    return Path(f"/var/lib/dpkg/info/{package}.list").exists()


def browser_version(path: str) -> str:
    if os.name == "nt":  # there, --version opens a window
        return ""
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = re.search(rb"\b\d+\.\d+\.\d+\.\d+", done.stdout)
    return version.group().decode() if done.returncode == 0 and version else ""


def install_browser() -> str:
    if not shutil.which("apt-get"):
        raise SetupError("no Chrome or Chromium here: install Google Chrome, then run this again")
    failures = []
    for packages in BROWSER_PACKAGES:
        failures.append(apt_install(*packages))
        browser = find_browser()
        if browser:
            return browser
    if all(failures):
        raise SetupError(failures[0])
    raise SetupError(
        "this system's Chromium is a snap and does not start here: install Google Chrome "
        "(google.com/chrome), then run this again"
    )


# The packages


def install_packages(group: str, gpu: bool = False) -> None:
    # A pip configuration with --user fails inside an environment; all else in it is kept.
    environment = dict(os.environ, PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    requirements = ROOT / REQUIREMENTS[group]
    pip = [str(VENV_PYTHON), "-m", "pip"]
    say("packages", REQUIREMENTS[group] + (", with " + GPU_BUILD if gpu else ""))
    if gpu:
        # Before the other build: later, it would take the files of both away.
        run_logged([*pip, "uninstall", "--yes", CPU_BUILD], environment, pip_progress)
        text = gpu_requirements(requirements)
        requirements = VENV / "requirements-gpu.txt"
        requirements.write_text(text)
    command = [*pip, "install", "--no-input", "--progress-bar", "off", "-r", str(requirements)]
    returncode, output = run_logged(command, environment, pip_progress)
    if returncode != 0:
        is_missing = "No matching distribution found" in output
        if is_missing and re.search(r"Retrying \(Retry|Could not fetch URL", output):
            raise SetupError(f"pip could not reach its package index: no network? (log: {LOG})")
        if is_missing and "found for tensorflow" in output:
            raise SetupError(
                "pip found no TensorFlow for this machine: there are some for 64-bit Linux and "
                "Windows and for Macs with Apple silicon"
            )
        raise SetupError(f"pip failed on {REQUIREMENTS[group]}: {last_error(output)} (log: {LOG})")
    stamp_path(group).write_text(stamp_text())


def gpu_requirements(path: Path) -> str:
    """A file of requirements, and those that it includes, with the build for GPUs."""
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            lines.append(gpu_requirements(path.parent / line[3:].strip()))
        else:
            lines.append(re.sub("^" + CPU_BUILD + "(?=[=<>])", GPU_BUILD, line))
    return "\n".join(lines) + "\n"


def pip_progress(line: str) -> str:
    """What a line of pip's output tells: 'numpy 2.4.6 (16.9 MB)'; '' for nothing new."""
    verb = r"\s*(?:Downloading|Using cached|Processing)"
    wheel = re.match(verb + r" (?:\S*/)?(\w+)-([^-]+)-\S+\.whl( \(.*\))?$", line)
    if wheel:
        return f"{wheel.group(1)} {wheel.group(2)}{wheel.group(3) or ''}"
    return "installing" if line.startswith("Installing collected packages") else ""


# Programs that take long or need root


def apt_install(*packages: str) -> str:
    """'' when apt-get installed the packages, else its complaint; SetupError without root."""
    names = " ".join(packages)
    command = [*as_root(names), "apt-get", "-q"]
    # A fresh machine is often busy with its own upgrade; wait for it.
    command += ["-o", "DPkg::Lock::Timeout=300", "-o", "DPkg::Use-Pty=0"]
    say("apt-get", names)
    lists = apt_update(tuple(command))
    install = [*command, "install", "-y", "--no-install-recommends", *packages]
    returncode, output = run_logged(install, apt_environment(), apt_progress)
    if returncode == 0:
        return ""
    # With old lists, or none, the install complains of an unknown package: not what is wrong.
    reason = "no network?" if "Failed to fetch" in lists else last_error(output)
    return f"apt-get could not install {names}: {reason} (log: {LOG})"


@functools.lru_cache(maxsize=None)
def apt_update(command: tuple) -> str:
    # One source may be out of reach and the package come from another: what counts is the install.
    return run_logged([*command, "update"], apt_environment(), apt_progress)[1]


def apt_environment() -> dict:
    return dict(os.environ, DEBIAN_FRONTEND="noninteractive")


def as_root(names: str) -> list:
    """What to write before an apt-get command."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise SetupError(f"as root, run: apt-get install -y {names}")
    if subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        print(f"  sudo is needed for: apt-get install {names}", flush=True)
        if not sys.stdin.isatty() or subprocess.run(["sudo", "-v"]).returncode != 0:
            raise SetupError(f"no sudo here: have someone run: sudo apt-get install -y {names}")
    return ["sudo", "--preserve-env=DEBIAN_FRONTEND,http_proxy,https_proxy,no_proxy"]


def apt_progress(line: str) -> str:
    step = re.match(r"(?:Get:\d+ \S+ \S+ \S+ (\S+)|(Unpacking \S+|Setting up \S+))", line)
    return (step.group(1) or step.group(2)) if step else ""


def last_error(output: str) -> str:
    """The line to show of a failed program's output: its last complaint, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    complaints = [line for line in lines if re.match(r"(E:|ERROR:|error:)", line)]
    return (complaints or lines)[-1][:300]


def say(part: str, text: str) -> None:
    print(f"  {part:<10}{text}", flush=True)


def run_logged(command: list, environment: dict, progress) -> tuple:
    """Run with the output in LOG; return the exit status and the output.

    A terminal sees the latest of `progress` on one line, a pipe the large downloads only.
    """
    started, output, latest = time.monotonic(), [], ""
    lines = queue.Queue()  # type: queue.Queue
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )
    threading.Thread(target=pump, args=(process.stdout, lines), daemon=True).start()
    LOG.parent.mkdir(exist_ok=True)
    with process, LOG.open("a", errors="replace") as log:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                line = ""
            if line is None:
                break
            output.append(line)
            log.write(line)
            news = progress(line)
            latest = news or latest
            if sys.stdout.isatty():
                show_on_one_line(f"            {time.monotonic() - started:4.0f} s  {latest}")
            elif re.search(" MB|^installing", news):
                print(f"            {news}", flush=True)
    if sys.stdout.isatty():
        show_on_one_line("")
    return process.returncode, "".join(output)


def pump(stream, lines) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def show_on_one_line(text: str) -> None:
    width = shutil.get_terminal_size().columns - 1
    print("\r" + text[:width].ljust(width) + ("" if text else "\r"), end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
