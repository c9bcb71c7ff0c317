"""Notebooks, run by a real kernel: inline videos, curves that grow, and the example of the first steps."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, mp4_boxes
from nbclient import NotebookClient
from nbformat import NotebookNode

from dino_rl.errors import DinoError

FIRST_STEPS = ROOT / "examples" / "first_steps.ipynb"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def execute(book: NotebookNode, directory: Path, timeout_s: int) -> list[NotebookNode]:
    """Run all cells with `directory` as the project, and return their outputs."""
    (directory / "examples").mkdir()
    for name in ("run_dino.py", "dino_rl", "models", "scripts"):
        (directory / name).symlink_to(ROOT / name)
    resources = {"metadata": {"path": str(directory / "examples")}}
    NotebookClient(book, timeout=timeout_s, resources=resources).execute()
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def of_type(outputs: list[NotebookNode], kind: str) -> list[str]:
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


TINY = """
import os
os.chdir("..")
from pathlib import Path
from dino_rl import notebook, recipe
changes = ["run.steps=800", "run.minutes=null", "run.validation_games=2", "cem.sessions=20", "env.num_envs=4"]
config = recipe.choose(env="CartPole-v1", algo="cem", overrides=changes)
run = notebook.watch(config, Path("run"), every_s=0.0)
"""


def test_a_run_is_watched_and_shown(tmp_path):
    from test_record import canvases, write_video

    write_video(tmp_path / "video.mp4", canvases(20))
    cells = (TINY, "notebook.show_history('run')", "notebook.show_video('video.mp4', 'video.mp4', width=123)")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    outputs = execute(book, tmp_path, timeout_s=240)
    live, history = of_type(outputs, "image/png")
    for image in (live, history):
        assert base64.b64decode(image).startswith(PNG_MAGIC)
    assert len(history) > len(live)  # all curves, and the first two
    (html,) = (text for text in of_type(outputs, "text/html") if "<video" in text)
    videos = re.findall(r'src="data:video/mp4;base64,([^"]+)"', html)
    assert len(videos) == 2
    assert mp4_boxes(base64.b64decode(videos[0]))[0] == "ftyp"
    assert html.count('width="123"') == 2
    assert html.count("<figcaption>video</figcaption>") == 2


def test_a_video_can_stay_outside_of_the_notebook(tmp_path):
    from dino_rl.notebook import show_video

    (tmp_path / "video.mp4").write_bytes(b"")
    assert f'src="{tmp_path}/video.mp4"' in show_video(tmp_path / "video.mp4", embed=False).data
    with pytest.raises(DinoError, match=r"nothing\.mp4"):
        show_video(tmp_path / "nothing.mp4")


def test_the_first_steps_have_no_outputs():
    book = nbformat.read(FIRST_STEPS, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("has_packages", [True, False])
@pytest.mark.parametrize("place", ["", "examples", "elsewhere"])
def test_the_first_cell_sets_up_what_is_missing(has_packages, place, tmp_path):
    """Without doing it: the commands are recorded."""
    code = next(
        cell.source for cell in nbformat.read(FIRST_STEPS, as_version=4).cells if cell.cell_type == "code"
    )
    (tmp_path / "examples").mkdir()
    (tmp_path / "run_dino.py").symlink_to(ROOT / "run_dino.py")
    if place == "elsewhere":
        code = code.replace('ADDRESS = ""', f'ADDRESS = "{tmp_path}"')
    record = f"""
import json, os, pathlib, subprocess, sys
def run(command, check):
    assert check
    commands.append(command)
    if command[0] == "git":
        pathlib.Path("dino-rl").symlink_to({str(tmp_path)!r})
commands, subprocess.run = [], run
sys.path.insert(0, "")  # as in a kernel
exec({code!r})
print(json.dumps([os.getcwd(), commands]))
"""
    cwd = tmp_path / place if place != "elsewhere" else tmp_path / "examples"
    bare = [] if has_packages else ["-I", "-S"]
    done = subprocess.run([sys.executable, *bare, "-c", record], cwd=cwd, capture_output=True, text=True)
    assert done.stderr == ""
    directory, commands = json.loads(done.stdout)
    assert Path(directory) == tmp_path
    expected = [["git", "clone", "--depth=1", str(tmp_path), "dino-rl"]] * (place == "elsewhere")
    expected += [[sys.executable, "-m", "pip", "install", "--quiet", "--editable", "."]] * (not has_packages)
    assert commands == [*expected, [sys.executable, "scripts/setup_env.py", "browser"]]


@pytest.mark.browser
def test_a_browser_that_is_there_is_found(tmp_path):
    """By the last command of the first cell; it leaves no stamp of a set-up that did not happen."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup_env.py", tmp_path / "scripts")
    command = [sys.executable, "scripts/setup_env.py", "browser"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "browser"
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


@pytest.mark.learning
@pytest.mark.browser
@pytest.mark.timeout(1200)
def test_the_first_steps_run(tmp_path, no_new_browsers):
    book = nbformat.read(FIRST_STEPS, as_version=4)
    outputs = execute(book, tmp_path, timeout_s=900)
    assert not [output for output in outputs if output.output_type == "error"]
    videos = [text for text in of_type(outputs, "text/html") if "<video" in text]
    assert [text.count("<video") for text in videos] == [2, 2]
    assert len(of_type(outputs, "image/png")) == 3  # two runs as they went, and a history
    assert len(nbformat.writes(book)) < 6_000_000
    runs = list((tmp_path / "runs").iterdir())
    assert {run.name.split("-")[-1] for run in runs} == {"cartpole", "dino"}
    assert all((run / "best.h5").exists() for run in runs)
    assert (tmp_path / "videos" / "best" / "before.mp4").exists()
