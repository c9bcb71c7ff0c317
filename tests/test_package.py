"""What is installed: a wheel that is complete, its command line, and the registration with Gymnasium."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import packages_distributions
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.utils import canonicalize_name

from dino_rl import __version__, program, resources
from dino_rl.checks import NEWEST_PYTHON, OLDEST_PYTHON
from dino_rl.registration import DINO_ID

SHIPPED = ("game", "models")  # at the top of the repository; inside the package in a wheel
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")


def run(*command, cwd: Path, **environment) -> subprocess.CompletedProcess:
    """A command to its end, as a user starts it: without this repository on the path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, env={**env, **environment}, capture_output=True, text=True, timeout=240
    )


def output_of(*command, cwd: Path, **environment) -> str:
    """What a command prints that must succeed."""
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- pyproject.toml --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> dict:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed(project):
    directories = {path.parent for path in (ROOT / "dino_rl").rglob("*.py")}
    found = {".".join(path.relative_to(ROOT).parts) for path in directories}
    assert set(project["tool"]["setuptools"]["packages"]) == found | {f"dino_rl.{name}" for name in SHIPPED}


def test_the_pythons_are_the_same_everywhere(project):
    oldest, newest = OLDEST_PYTHON, NEWEST_PYTHON
    after = f"{newest[0]}.{newest[1] + 1}"
    assert project["project"]["requires-python"] == f">={oldest[0]}.{oldest[1]},<{after}"
    setup = load_setup_env()
    assert oldest == setup.OLDEST_PYTHON
    assert newest == setup.NEWEST_PYTHON


def load_setup_env():
    spec = spec_from_file_location("setup_env", ROOT / "scripts" / "setup_env.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"])
def test_requirements_for_a_gpu_replace_the_build_and_nothing_else(name):
    setup = load_setup_env()
    lines = setup.gpu_requirements(ROOT / name).splitlines()
    builds = [line for line in lines if line.startswith("tensorflow")]
    assert not any(line.startswith(("tensorflow-cpu", "-r")) for line in lines)
    if name != "requirements-dev.txt":  # which includes those of the tests only
        assert [line.partition("==")[0] for line in builds] == ["tensorflow[and-cuda]", "tensorflow"]
        plain = (ROOT / "requirements.txt").read_text().splitlines()
        assert len(set(plain) - set(lines)) == 1


# --- Names of this program, and files beside it ----------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("run_dino.py", "python run_dino.py"),
        ("/somewhere/else/run_dino.py", "python run_dino.py"),
        ("/usr/local/bin/dino-rl", "dino-rl"),
        ("C/Scripts/dino-rl.exe", "dino-rl"),
        ("/lib/python3/site-packages/dino_rl/__main__.py", "python -m dino_rl"),
        ("/usr/bin/pytest", "python run_dino.py"),  # these tests run in a checkout
        ("", "python run_dino.py"),
    ],
)
def test_messages_name_the_program_as_it_was_started(started, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert program.program_name() == name
    assert program.command_line("train", "--resume", Path("my runs")) == f"{name} train --resume 'my runs'"


def test_a_script_that_imports_the_installed_package_is_told_the_installed_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["my_script.py"])
    monkeypatch.setattr(program, "IS_CHECKOUT", False)
    assert program.command_line("train") == "dino-rl train"
    assert "pip install keras" in program.how_to_install("keras")
    assert "pip install 'ray[rllib,tune]' torch" in program.how_to_add_ray()


def test_a_missing_module_is_installed_by_the_name_of_its_package(monkeypatch):
    """Never by the module's own, if that is another package: it may be a stranger's."""
    monkeypatch.setattr(program, "IS_CHECKOUT", False)
    provided_by = packages_distributions()
    modules = set()
    for path in (ROOT / "dino_rl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(str(node.module).partition(".")[0])
    modules = {module for module in modules if module in provided_by and module != "dino_rl"}
    assert len(modules) > 20
    for module in modules:
        advice = canonicalize_name(program.how_to_install(module).strip("`").split()[-1])
        assert advice in {canonicalize_name(name) for name in provided_by[module]}, module


def test_no_message_writes_the_name_of_the_program_itself():
    wrong = [
        path.name
        for path in (ROOT / "dino_rl").rglob("*.py")
        if path.name not in ("program.py", "resources.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Call) and "'python run_dino.py" in ast.unparse(node)
    ]
    assert wrong == []


def test_the_shipped_model_is_named_as_short_as_possible(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert resources.shipped_model() == Path("models/best.h5")
    monkeypatch.chdir(tmp_path)
    assert resources.shipped_model() == ROOT / "models" / "best.h5"


# --- run_dino.py with the wrong Python -------------------------------------------------------------------


def test_old_pythons_can_read_what_must_refuse_them():
    for path in (ROOT / "run_dino.py", ROOT / "scripts" / "setup_env.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))


BARE = (sys.executable, "-I", "-S")  # a Python without packages


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A checkout without .venv, whose path has a space and a letter beyond ASCII."""
    root = tmp_path / "über all"
    shutil.copytree(ROOT / "dino_rl", root / "dino_rl", ignore=LEFT_OUT)
    shutil.copy(ROOT / "run_dino.py", root)
    return root


def write_python(root: Path, text: str, mode: int = 0o755):
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(text)
    python.chmod(mode)


def assert_sends_to_set_up(done: subprocess.CompletedProcess):
    (line,) = done.stderr.splitlines()
    assert line.startswith("dino-rl: ")
    assert "make setup" in line
    assert ". .venv/bin/activate" in line
    assert "tensorflow" in line
    assert done.returncode == 2


def test_a_python_without_packages_sends_to_the_set_up(elsewhere, tmp_path):
    assert_sends_to_set_up(run(*BARE, elsewhere / "run_dino.py", "play", cwd=tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
def test_a_python_without_packages_starts_that_of_the_environment(elsewhere, tmp_path):
    write_python(elsewhere, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    arguments = ("presets", "vectors")
    done = run(*BARE, elsewhere / "run_dino.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dqn:" in done.stdout
    done = run(*BARE, elsewhere / "run_dino.py", "train", "--env", "a b;ü", cwd=tmp_path)
    assert done.returncode == 2
    assert "'a b;ü'" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n', 0o755),  # has no packages either: no loop
        ("#!/nowhere/python\n", 0o755),
        ("", 0o644),
    ],
)
def test_an_environment_that_does_not_help_sends_to_the_set_up(text, mode, elsewhere, tmp_path):
    write_python(elsewhere, text, mode)
    assert_sends_to_set_up(run(*BARE, elsewhere / "run_dino.py", "play", cwd=tmp_path))


def test_a_package_that_is_missing_is_named_in_one_line(cli, monkeypatch):
    """As where one was uninstalled: any command, and whatever imports it."""
    from dino_rl.cli import main, presets

    def needs(options):
        raise ModuleNotFoundError("No module named 'lz5.frame'", name="lz5.frame")

    monkeypatch.setattr(presets, "run", needs)
    code, _, err = cli("presets")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "lz5 is not installed" in err
    assert main._missing_package(ModuleNotFoundError(name="dino_rl.nothing")) == ""  # a bug
    assert main._missing_package(ModuleNotFoundError(name="numpy.nothing")) == ""
    assert main._missing_package(ValueError()) == ""


# --- Registration ----------------------------------------------------------------------------------------

REGISTERED = f"assert {DINO_ID!r} in gymnasium.registry, 'not registered'\n"


@pytest.mark.parametrize(
    "code",
    [
        "import dino_rl, gymnasium\n",
        "import gymnasium, dino_rl\n",
        "import dino_rl\nfrom gymnasium.spaces import Box\nimport gymnasium\n",
        "import dino_rl.envs, gymnasium\n",
        "import dino_rl\nimport importlib.util as u\nassert u.find_spec('gymnasium')\nimport gymnasium\n",
        "import gymnasium\ntry: gymnasium.make('dino_rl:Nothing-v0')\nexcept gymnasium.error.Error: pass\n",
    ],
)
def test_importing_the_package_registers_its_environment(code):
    code += REGISTERED + "import sys; assert not {'selenium', 'tensorflow', 'keras'} & set(sys.modules)"
    output_of(sys.executable, "-W", "error", "-c", code, cwd=ROOT)


def test_importing_the_package_imports_nothing_else():
    code = "import sys, dino_rl; print({'numpy', 'gymnasium', 'pydantic', 'rich'} & set(sys.modules))"
    assert output_of(sys.executable, "-c", code, cwd=ROOT) == "set()\n"


def test_the_loader_of_gymnasium_stays_what_it_is():
    code = "import dino_rl, gymnasium, inspect, sys\nprint(type(gymnasium.__loader__).__name__)\n"
    code += "assert inspect.getsource(gymnasium)\n"
    code += "print([finder for finder in sys.meta_path if 'dino_rl' in type(finder).__module__])"
    assert output_of(sys.executable, "-c", code, cwd=ROOT).split() == ["SourceFileLoader", "[]"]


# --- The wheel -------------------------------------------------------------------------------------------


def pip(*arguments, cwd: Path, python: Path | None = None):
    """pip of the running environment, without a network."""
    choice = ("--python", python) if python else ()
    command = (sys.executable, "-m", "pip", *choice, *arguments, "--no-deps", "--no-index")
    output_of(*command, cwd=cwd, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the working tree: building leaves files in it."""
    copy = tmp_path_factory.mktemp("tree") / "dino rl ü"
    made_here = {"runs", "videos", "build", "dist"}  # at the top only: dino_rl/runs is a package

    def left_out(directory: str, names: list[str]) -> set[str]:
        return LEFT_OUT(directory, names) | (made_here if Path(directory) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=left_out)
    return copy


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip("wheel", ".", "--no-build-isolation", "--wheel-dir", directory, cwd=tree)
    (path,) = directory.iterdir()
    assert path.name == f"dino_rl-{__version__}-py3-none-any.whl"
    return path


def names_in(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


def test_the_wheel_has_all_and_only_its_files(wheel, project):
    inside = [path for path in (ROOT / "dino_rl").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {path.relative_to(ROOT).as_posix() for path in inside}
    expected |= {f"dino_rl/game/{path.name}" for path in (ROOT / "game").iterdir()}
    models = project["tool"]["setuptools"]["package-data"]["dino_rl.models"]
    expected |= {f"dino_rl/models/{name}" for name in models}
    assert {"dino_rl/py.typed", "dino_rl/models/best.h5", "dino_rl/models/best.json"} <= expected
    found = names_in(wheel)
    assert {name for name in found if ".dist-info/" not in name} == expected
    assert {name.partition("/")[0] for name in found} == {"dino_rl", f"dino_rl-{__version__}.dist-info"}


def test_an_sdist_builds_the_same_wheel(tree, wheel, tmp_path):
    code = "from setuptools import build_meta; import sys; build_meta.build_sdist(sys.argv[1])"
    output_of(sys.executable, "-c", code, tmp_path, cwd=tree)
    (sdist,) = tmp_path.iterdir()
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("run_dino.py", "Makefile", "requirements.txt", "tests/conftest.py", "scripts/setup_env.py"):
        assert name in inside
    pip("wheel", sdist, "--no-build-isolation", "--wheel-dir", tmp_path, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert names_in(again) == names_in(wheel)


@pytest.fixture(scope="module")
def bin_dir(wheel, tmp_path_factory) -> Path:
    """The commands of a fresh environment with the wheel, and the running one's packages."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    output_of(sys.executable, "-m", "venv", "--without-pip", environment, cwd=ROOT)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(output_of(python, "-c", code, cwd=environment).strip())
    (site / "running.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip("install", wheel, cwd=environment, python=python)
    where = output_of(python, "-c", "import dino_rl; print(dino_rl.__file__)", cwd=environment)
    assert Path(where.strip()).is_relative_to(site)
    return programs


@pytest.fixture
def empty(tmp_path) -> Path:
    """An empty directory, whose path has a space and a letter beyond ASCII."""
    path = tmp_path / "leer ü"
    path.mkdir()
    return path


def test_the_installed_command_tells_its_version(bin_dir, empty):
    assert output_of(bin_dir / "dino-rl", "--version", cwd=empty) == f"dino-rl {__version__}\n"
    command = (bin_dir / "python", "-m", "dino_rl")
    assert output_of(*command, "--version", cwd=empty) == f"dino-rl {__version__}\n"
    assert "usage: python -m dino_rl " in output_of(*command, "--help", cwd=empty)
    assert "usage: dino-rl train " in output_of(bin_dir / "dino-rl", "train", "--help", cwd=empty)
    assert list(empty.iterdir()) == []


@pytest.mark.browser
def test_the_installed_command_plays_with_no_model_named(bin_dir, empty, no_new_browsers):
    out = output_of(
        *(bin_dir / "dino-rl", "play", "--games", 1, "--headless", "--clock", "lockstep", "--max-score", 30),
        cwd=empty,
    )
    assert "stopped at 3" in out
    assert list(empty.iterdir()) == []


def test_the_installed_command_trains(bin_dir, empty):
    command = (bin_dir / "dino-rl", "train", "--env", "CartPole-v1", "--algo", "cem", "--steps", 3000)
    out = output_of(*command, "--seed", 1, cwd=empty)
    (run_dir,) = (empty / "runs").iterdir()
    assert (run_dir / "run.json").exists()
    assert "dino-rl play --model runs/" in out
    assert "dino-rl play --model runs/" in output_of(bin_dir / "dino-rl", "runs", cwd=empty)
    assert output_of(bin_dir / "dino-rl", "evaluate", "--model", run_dir, "--games", 2, cwd=empty)
    done = run(bin_dir / "dino-rl", "play", "--model", "missing.h5", cwd=empty)
    assert done.returncode == 2
    assert "(dino-rl train)" in done.stderr


@pytest.mark.browser
@pytest.mark.parametrize("name", [f"import dino_rl; {DINO_ID}", f"dino_rl:{DINO_ID}"])
def test_the_installed_environment_is_made(name, bin_dir, empty, no_new_browsers):
    imports, _, env_id = name.rpartition("; ")
    code = (
        f"import gymnasium; {imports or 'pass'}\n"
        f"env = gymnasium.make({env_id!r})\n"
        "assert env.reset(seed=1)[0].shape == (80, 80, 4)\n"
        "env.close()\n"
        f"envs = gymnasium.make_vec({env_id!r}, num_envs=2)\n"
        "assert envs.reset(seed=1)[0].shape == (2, 80, 80, 4)\n"
        "envs.close()\n"
    )
    output_of(bin_dir / "python", "-c", code, cwd=empty)


def test_messages_of_the_installed_package_do_not_name_make(bin_dir, empty):
    code = "from dino_rl.program import how_to_install; print(how_to_install('rich'))"
    assert output_of(bin_dir / "python", "-c", code, cwd=empty) == "run `python -m pip install rich`\n"


# --- Environments of the current directory ---------------------------------------------------------------

MY_ENV = """
import pathlib
import gymnasium
pathlib.Path("imported").touch()
gymnasium.register("My-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=50)
"""


@pytest.mark.parametrize("installed", [True, False])
def test_an_environment_in_the_current_directory(installed, bin_dir, empty):
    """It is found when the user names it; a model that names it must be trusted first."""
    (empty / "my_env.py").write_text(MY_ENV)
    program = (bin_dir / "dino-rl",) if installed else (sys.executable, ROOT / "run_dino.py")
    options = ("--env", "my_env:My-v0", "--algo", "cem", "--steps", 3000, "--seed", 1, "--run-dir", "run")
    out = output_of(*program, "train", *options, cwd=empty)
    assert "play --model run/best.h5 --trust" in out
    (empty / "imported").unlink()
    play = ("play", "--model", "run/best.h5", "--games", 1, "--headless")
    done = run(*program, *play, cwd=empty)
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert not (empty / "imported").exists()
    output_of(*program, *play, "--trust", cwd=empty)
    assert (empty / "imported").exists()


@pytest.mark.parametrize("name", ["my_env:My-v0", "no_such.place:My-v0"])
def test_a_module_that_is_missing_is_not_looked_for_on_the_index(name, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("train", "--env", name)
    assert code == 2
    assert name.partition(":")[0].partition(".")[0] in err
    assert "pip install" not in err


@pytest.mark.parametrize("name", [":My-v0", "..up:My-v0", "a/b:My-v0", "a:b:c"])
def test_what_is_no_module_is_an_unknown_environment(name, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("train", "--env", name)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "Unknown environment" in err


# --- Completion ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dino-rl tr", {"train"}),
        ("dino-rl evaluate --ag", {"--against-random"}),
        ("dino-rl train --algo ", {"dqn", "cem", "pqn", "ppo"}),
    ],
)
def test_the_shell_completes(words, expected, cli, tmp_path):
    code, script, err = cli("--print-completion", "bash")
    assert (code, err) == (0, "")
    (tmp_path / "completion").write_text(script)
    typed = words.split(" ")
    ask = (
        "source ./completion\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in typed)}) COMP_CWORD={len(typed) - 1}\n"
        f'_shtab_dino_rl dino-rl "{typed[-1]}" "{typed[-2]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    found = output_of("bash", "-c", ask, cwd=tmp_path).split()
    assert {word for word in found if word.startswith(typed[-1])} == expected


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_too(shell, cli):
    code, script, _ = cli("--print-completion", shell)
    assert code == 0
    assert "dino-rl" in script
    assert "record" in script
