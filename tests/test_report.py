"""Reports of runs: one file, whole, harmless, and honest about what is not there."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import write_model
from test_cli import refused
from test_runs import write_run
from test_tracking import small, train

from dino_rl.errors import RunError
from dino_rl.report import write_report
from dino_rl.report.facts import RunFacts
from dino_rl.runs.clip import Clip
from dino_rl.runs.run_directory import RunDirectory

HOSTILE = "<script src=https://example.org/x.js></script>\"'&<img src=x onerror=alert(1)>"
GAME_HEADER = (
    "step,minutes,seed,score,length,capped,speed,obstacle,obstacle_size,obstacle_y,night,jumping,ducking\n"
)


class Page(HTMLParser):
    """What is in a page: its tags, its text, and everything that a browser would load."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "href" and tag == "a":  # loads when a reader asks for it
                continue
            if name in ("src", "srcset", "href", "poster", "data", "action", "background", "formaction"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data):
        self.words += data


def headings(page: Page) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.source)


def dino_run(path: Path, **run) -> Path:
    """All files of a run of the Dino, with numbers that follow a formula, and a clip of noise."""
    write_run(path, **run)
    rng = np.random.default_rng(0)
    rows = [
        f"{2000 * i},{5.0 * i},{1000000 + k},{300 + 10 * k},99,{int(k == 0)},{6 + k % 4}.5,{k % 3},1,75,0,1,0"
        for i in range(3)
        for k in range(6)
    ]
    (path / "validation_games.csv").write_text(GAME_HEADER + "\n".join(rows) + "\n")
    frames = rng.integers(0, 256, (20, 80, 80)).astype(np.uint8)
    observations = rng.integers(0, 256, (5, 80, 80, 4)).astype(np.uint8)
    Clip(frames, 15.0, observations).save(path / "best_game.npz")
    write_model(path / "best.h5")
    card = path / "best.json"
    facts = {"command": "dino-rl train --minutes 5", "repeat": "dino-rl train --steps 1234"}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"training": facts}))
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return dino_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def reported(run_dir) -> Page:
    return Page(write_report([run_dir]))


def test_a_report_has_every_section(reported):
    assert headings(reported) == [
        "Learning curve",
        "Validations",
        "How games ended",
        "An example game",
        "What the network looks at",
        "Beside published results",
        "How learning went",
        "How to repeat it",
    ]
    for words in (
        "first",
        "ChromeDino-v0",
        "900",
        "2,383",
        "dino-rl train --steps 1234",
        "Greydanus et al. 2018",
    ):
        assert words in reported.words
    assert "bird at height 75" in reported.words
    assert reported.tags.count("video") == 1


def test_published_results_name_their_sources(reported):
    assert 'href="https://github.com/yzheng51/rl-dino-run/' in reported.source


def test_a_report_loads_nothing(reported):
    assert reported.loads
    assert {address.partition(",")[0] for address in reported.loads} == {
        "data:image/svg+xml;base64",
        "data:image/png;base64",
        "data:video/mp4;base64",
    }
    assert "script" not in reported.tags
    assert "link" not in reported.tags
    assert "@import" not in reported.source
    assert "url(" not in reported.source
    assert "default-src 'none'" in reported.source


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_all_of_it(width, run_dir, reported, no_new_browsers):
    """Every picture and the video load, under the page's own policy, and the page fits into its window."""
    from dino_rl.browser.chrome import Browser

    with Browser() as browser:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.cdp("Emulation.setDeviceMetricsOverride", metrics)
        browser.open((run_dir / "report.html").as_uri())
        shown = browser.resolve(
            """Promise.all([
              ...[...document.images].map((image) => image.decode().then(() => image.naturalWidth)),
              new Promise((done, failed) => {
                const video = document.querySelector("video");
                video.muted = true;
                video.ontimeupdate = () => video.currentTime > 0 && done(video.videoWidth);
                video.onerror = () => failed(video.error.message);
                video.play();
              })])"""
        )
        assert isinstance(shown, list), shown
        assert len(shown) == reported.tags.count("img") + 1
        assert all(shown)
        overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.script(overflow) == 0
        below = (
            "return [...document.querySelectorAll('section')].map((s) => s.getBoundingClientRect().height)"
        )
        assert min(browser.script(below)) > 60


def test_charts_have_both_colour_schemes(reported):
    from base64 import b64decode

    assert reported.tags.count("picture") == reported.tags.count("source") >= 7
    light = re.findall(r'<img alt="[^"]+" src="data:image/svg\+xml;base64,([^"]+)"', reported.source)
    dark = re.findall(r'srcset="data:image/svg\+xml;base64,([^"]+)"', reported.source)
    assert len(light) == len(dark)
    for day, night in zip(light, dark, strict=True):
        day, night = b64decode(day).decode(), b64decode(night).decode()
        assert "#24292f" in day  # ink of each
        assert "#24292f" not in night
        assert "#d8dee6" in night


def test_several_runs_are_compared(run_dir, cli, tmp_path):
    other = write_run(tmp_path / "second", level=3.0, validations=(100.0, 1234.0))
    about = json.loads((other / "run.json").read_text())
    about["settings"]["seed"] = 77
    (other / "run.json").write_text(json.dumps(about))
    out = tmp_path / "both.html"
    code, said, err = cli("report", run_dir, other, "--out", out)
    assert (code, err) == (0, "")
    assert str(out) in said
    page = Page(out)
    assert headings(page) == ["Learning curves", "Results", "Different settings", "Example games"]
    assert "1,234" in page.words
    assert "900" in page.words
    assert re.search(r"<td>seed</td><td>-</td><td>77</td>", page.source)
    assert page.source.index("class=own") < page.source.index("<td>second</td>")
    code, said, _ = cli("report", run_dir, other)
    assert code == 0
    assert (run_dir.parent / "compare-first-second.html").exists()


@pytest.mark.parametrize("env_id", ["CartPole-v1"])
def test_a_real_run_of_another_environment(env_id, tmp_path, cli):
    train(small(env_id), tmp_path / "run")
    code, _, err = cli("report", tmp_path / "run")
    assert (code, err) == (0, "")
    page = Page(tmp_path / "run" / "report.html")
    found = headings(page)
    assert {"Learning curve", "Validations", "How to repeat it"} <= set(found)
    assert not {"How games ended", "An example game", "Beside published results"} & set(found)
    games = RunFacts(RunDirectory(tmp_path / "run")).games
    assert len(games) == 2 * 3  # two validations of three games
    assert "mean return" in page.words


def test_a_run_of_an_older_version_is_reported(tmp_path):
    page = Page(write_report([write_run(tmp_path / "old")]))
    assert "Last games of training" in page.source
    assert "How games ended" not in headings(page)


# --- Files of strangers ----------------------------------------------------------------------------------


def test_text_of_a_run_is_only_text(tmp_path):
    run_dir = dino_run(tmp_path / "a & <b>bold</b>")
    about = json.loads((run_dir / "run.json").read_text())
    about["settings"]["env"]["id"] = HOSTILE
    about["settings"]["note"] = HOSTILE
    about["versions"] = {HOSTILE: HOSTILE}
    (run_dir / "run.json").write_text(json.dumps(about))
    card = json.loads((run_dir / "best.json").read_text())
    card["training"] = {"repeat": HOSTILE, "command": ["not", "text"]}
    (run_dir / "best.json").write_text(json.dumps(card))
    other = write_run(tmp_path / HOSTILE.replace("/", "|"))
    for page in (Page(write_report([run_dir])), Page(write_report([run_dir, other], tmp_path / "both.html"))):
        assert "script" not in page.tags
        assert "b" not in [tag for tag in page.tags if "<b>bold" in page.source]
        assert page.handlers == []
        assert all(address.startswith("data:") for address in page.loads)
        assert HOSTILE in page.words or HOSTILE.replace("/", "|") in page.words


def damaged(run_dir: Path, name: str, content: bytes):
    (run_dir / name).write_bytes(content)


DAMAGE = {
    "no run": lambda run: shutil.rmtree(run),
    "run.json": lambda run: damaged(run, "run.json", b"{"),
    "deep": lambda run: damaged(run, "run.json", b'{"settings":' * 5000 + b"1" + b"}" * 5000),
    "names": lambda run: damaged(run, "run.json", b'{"settings": {"env": {"id": ["x"]}}}'),
    "episodes.csv": lambda run: damaged(run, "episodes.csv", b"episode,score\n1,<b>\n"),
    "a column": lambda run: damaged(run, "episodes.csv", b"episode,step\n1,2\n"),
    "no steps": lambda run: damaged(run, "intervals.csv", b"step\n3\n"),
    "validations.csv": lambda run: damaged(run, "validations.csv", b"step,mean\n1,5\n"),
    "games without scores": lambda run: damaged(run, "validation_games.csv", b"step,minutes\n1,2\n"),
    "an obstacle": lambda run: damaged(
        run, "validation_games.csv", GAME_HEADER.encode() + b"0,5,1,300,9,0,6.5,77,1,75,0,1,0\n"
    ),
    "best.json": lambda run: damaged(run, "best.json", b"[]"),
    "best.h5": lambda run: damaged(run, "best.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)),
    "a clip": lambda run: damaged(run, "best_game.npz", b"PK\x03\x04" + bytes(99)),
    "another clip": lambda run: Clip(
        np.zeros((3, 8, 8), np.uint8), 15.0, np.zeros((2, 8, 8, 2), np.uint8)
    ).save(run / "best_game.npz"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_line(case, run_dir, tmp_path, cli):
    run = tmp_path / "run"
    shutil.copytree(run_dir, run, ignore=shutil.ignore_patterns("report.html"))
    DAMAGE[case](run)
    refused(cli("report", run), str(run))
    assert not (run / "report.html").exists()


def test_a_clip_with_pickles_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "best_game.npz", frames=np.array([Trap()], object), fps=1.0, observations=np.zeros(1))
    with pytest.raises(RunError, match="damaged"):
        Clip.load(tmp_path / "best_game.npz")
    assert not (tmp_path / "ran").exists()


def test_a_video_that_is_a_link_to_something_else_stays_out(run_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    (tmp_path / "secret").write_text("a secret of the reader")
    (run / "videos").mkdir()
    (run / "videos" / "game.mp4").symlink_to(tmp_path / "secret")
    assert RunFacts(RunDirectory(run)).video is None
    (run / "videos" / "game.mp4").unlink()
    (run / "videos" / "game.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    assert RunFacts(RunDirectory(run)).video == b"\0\0\0\x20ftypisom"


def test_where_a_report_cannot_be_written(run_dir, cli, tmp_path):
    (tmp_path / "file").write_text("")
    refused(cli("report", run_dir, "--out", tmp_path / "file" / "x.html"), "file")
    refused(cli("report", *[run_dir] * 7, "--out", tmp_path / "x.html"), "at most 6")
    assert not (tmp_path / "x.html").exists()


# --- At the end of training ------------------------------------------------------------------------------

SHORT = ("train", "--env", "CartPole-v1", "--steps", 600, "--set", "run.validations=1")
SHORT = (*SHORT, "--set", "run.validation_games=2", "--set", "dqn.learning_starts=10000")


def test_training_ends_with_a_report(cli, tmp_path):
    code, out, err = cli(*SHORT, "--run-dir", tmp_path / "run")
    assert (code, err) == (0, "")
    report = tmp_path / "run" / "report.html"
    assert f"Report: {report}" in out
    assert "Learning curve" in headings(Page(report))
    code, out, _ = cli(*SHORT, "--set", "run.report=false", "--run-dir", tmp_path / "without")
    assert code == 0
    assert "Report" not in out
    assert not (tmp_path / "without" / "report.html").exists()


def test_a_report_that_fails_does_not_end_the_run_with_an_error(cli, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("dino_rl.report.write_report", fail)
    code, out, err = cli(*SHORT, "--run-dir", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "report could not be written" in out
    assert "Done. Watch it" in out
