"""`doctor`: what is there, and what to do about everything that can be missing."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from conftest import ROOT

from dino_rl import checks
from dino_rl.checks import Check

EXPECTED = (  # one line each on a machine that has everything
    *("python", "packages", "browser", "driver", "game", "sandbox", "tensorflow", "machine", "display"),
    *("cache", "temporary", "runs", "ffmpeg"),
)


def results_of(name: str) -> list[Check]:
    """What one check finds, as `doctor` calls it."""
    return list(checks._guarded(name, getattr(checks, f"_{name}")))


def only(name: str, status: str, *words: str) -> str:
    """The text of a check that finds one thing, which has a status and words."""
    (check,) = results_of(name)
    assert (check.name, check.status) == (name, status), check
    assert "\n" not in check.text
    for word in words:
        assert word in check.text
    return check.text


# --- The command -----------------------------------------------------------------------------------------


@pytest.mark.browser
def test_all_is_well_where_the_tests_run(cli, tmp_path, monkeypatch, no_new_browsers):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("doctor", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["ok"] is True
    status = {check["name"]: check["status"] for check in result["checks"]}
    assert set(EXPECTED) <= set(status)
    assert {status[name] for name in ("python", "browser", "game", "tensorflow", "cache", "runs")} == {"ok"}
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    assert status["sandbox"] == ("note" if is_root else "ok")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
def test_what_is_wrong_is_in_the_table_and_in_the_exit_code(cli, monkeypatch, no_new_browsers):
    monkeypatch.setenv("CHROME_BINARY", "/nowhere/chrome")
    monkeypatch.setattr(checks, "_tensorflow", lambda: iter([Check("tensorflow", "ok", "left out")]))
    code, out, err = cli("doctor")
    assert (code, err) == (2, "")
    lines = out.splitlines()
    (browser,) = (line for line in lines if line.split()[:2] == ["problem", "browser"])
    assert "CHROME_BINARY" in browser
    assert not any(line.split()[1:2] == ["game"] for line in lines)  # it would say the same
    assert lines[-1].startswith("1 problem")
    code, out, _ = cli("--quiet", "doctor")
    assert code == 2
    assert {line.split()[0] for line in out.splitlines()[:-2]} <= {"note", "problem"}


def test_it_runs_without_any_package(tmp_path):
    """Each check that needs one says which; nothing crashes."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['run_dino.py', 'doctor']\n"
        "from dino_rl.cli.main import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2
    assert done.stderr == ""
    wrong = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert len(wrong) >= 5
    for line in wrong:
        assert "not installed" in line
        assert "make setup" in line


def test_a_check_that_fails_is_a_line(monkeypatch):
    def fails():
        yield Check("first", "ok", "")
        raise RuntimeError("something\nnobody thought of")

    monkeypatch.setattr(checks, "_python", fails)
    first, second = results_of("python")
    assert first.status == "ok"
    assert (second.name, second.status) == ("python", "problem")
    assert "RuntimeError: something" in second.text
    assert "\n" not in second.text


# --- One by one ------------------------------------------------------------------------------------------


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    only("python", "problem", "3.10 to 3.13")


def test_versions_that_were_not_tested_and_packages_that_are_missing(monkeypatch):
    versions = {"numpy": "1.0", "keras": ""}
    known = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: versions.get(name, known(name)))
    found = {check.name: check for check in results_of("packages")}
    assert found["numpy"].status == "note"
    assert "1.0; tested with 2." in found["numpy"].text
    assert found["keras"].status == "problem"
    assert "make setup" in found["keras"].text
    same, _, count = found["packages"].text.split()[:3]
    assert int(same) <= int(count) - 2


def test_either_build_of_tensorflow_is_tensorflow(monkeypatch):
    installed = {"tensorflow": "2.21.0"}

    def version(name):
        if name not in installed:
            raise checks.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(checks.metadata, "version", version)
    assert checks._version("tensorflow-cpu") == "2.21.0"
    installed = {"tensorflow-cpu": "2.20.0"}
    assert checks._version("tensorflow") == "2.20.0"
    assert checks._version("keras") == ""


def test_an_installed_package_is_compared_with_its_own_metadata(monkeypatch):
    monkeypatch.setattr(checks, "IS_CHECKOUT", False)
    needed = ["numpy>=2.1,<3", "keras<2", "torch>=2.6; extra == 'ray'", "nothing; python_version < '3'"]
    monkeypatch.setattr(checks.metadata, "requires", lambda name: needed)
    assert [name for name, *_ in checks._requirements("requirements.txt", "")] == ["numpy", "keras"]
    assert [name for name, *_ in checks._requirements("requirements-ray.txt", "ray")] == ["torch"]
    found = {check.name: check for check in results_of("packages")}
    assert found["packages"].text == "1 of 2 have versions that are accepted"
    assert "<2" in found["keras"].text


@pytest.mark.browser
def test_a_driver_of_another_version(tmp_path, monkeypatch):
    driver = tmp_path / "chromedriver"
    driver.write_text('#!/bin/sh\necho "ChromeDriver 99.0.1"\n')
    driver.chmod(driver.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("SE_CHROMEDRIVER", str(driver))
    browser, found = results_of("browser")
    assert browser.status == "ok"
    assert (found.name, found.status) == ("driver", "problem")
    assert "99.0.1" in found.text


def test_a_browser_that_does_not_answer(tmp_path, monkeypatch):
    program = tmp_path / "chrome"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROME_BINARY", str(program))
    only("browser", "problem", str(program))


FAKES = {
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
    "fails": ("raise OSError('no libcudnn here')", "no libcudnn here"),
}


@pytest.mark.skipif(os.name == "nt", reason="there, no process ends by a signal")
@pytest.mark.parametrize("name", FAKES)
def test_a_tensorflow_that_does_not_work(name, tmp_path, monkeypatch):
    code, word = FAKES[name]
    (tmp_path / "tensorflow.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    only("tensorflow", "problem", word)


def test_a_machine_with_little_memory(monkeypatch):
    monkeypatch.setattr(checks, "_container_limit_gb", lambda: 0.5)
    only("machine", "note", "0.5 of 0.5 GB")
    monkeypatch.setattr(checks, "_container_limit_gb", lambda: 1e9)  # more than there is: no limit
    assert "cores" in results_of("machine")[0].text


Usage = namedtuple("Usage", "total used free")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_little_shared_memory(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(64e6, 0, 64e6))
    (check,) = checks._shared_memory()
    assert check.status == "note"
    assert "--shm-size" in check.text
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (check,) = checks._guarded("/dev/shm", checks._shared_memory)
    assert check.status == "problem"


def test_little_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e9, 9e8, 1e8))
    only("runs", "note", "0.1 GB")
    only("temporary", "note", "TMPDIR")


def test_with_and_without_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        only("display", "ok", "terminal")
    monkeypatch.setenv("DISPLAY", ":7")
    only("display", "ok", ":7")


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DINO_RL_CACHE", str(tmp_path / "file" / "cache"))
    only("cache", "note", "DINO_RL_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("DINO_RL_CACHE", str(tmp_path / "new" / "cache"))
    only("cache", "ok")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_takes_no_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").touch()
    only("runs", "problem", "--run-dir")


def test_no_directory_for_temporary_files(monkeypatch):
    def fail():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(checks.tempfile, "gettempdir", fail)
    only("temporary", "problem", "TMPDIR")


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/nowhere/sh\n"])
def test_an_ffmpeg_that_is_none(text, tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    (check,) = results_of("ffmpeg")
    assert check.status in ("note", "problem")
    assert str(program) in check.text or "ffmpeg does not run" in check.text


def test_ray_is_optional(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    only("ray", "ok", "setup-ray")


# --- The cache -------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_home_that_is_read_only_costs_one_line(tmp_path, no_new_browsers):
    """The page cannot be stored: it is taken from the browser each time, and one line names the variable."""
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    environment = {**os.environ, "HOME": str(home)}
    for name in ("DINO_RL_CACHE", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    command = ("play", "--games", "1", "--headless", "--clock", "lockstep", "--max-score", "20")
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_dino.py"), *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("dino-rl: ")
    assert "DINO_RL_CACHE" in line
    assert Path(home).name in line
