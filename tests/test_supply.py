"""What is installed and started: packages with checksums, their licences, and the browser's switches."""

import os
import re

import pytest
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dino_rl.browser import chrome

LINUX = {
    **default_environment(),
    "python_version": "3.11",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}


def pinned() -> dict[str, str]:
    """Versions in requirements-hashes.txt, by name."""
    text = (ROOT / "requirements-hashes.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))


def test_checksums_are_of_the_versions_that_were_tried():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = pinned()
    assert len(versions) > 60
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"make lock: {requirement} is not {version}"


def test_every_package_has_a_checksum_and_no_index_is_named():
    text = (ROOT / "requirements-hashes.txt").read_text(encoding="utf-8")
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(entries) == 2 * len(pinned())
    assert not re.search(r"https?:|--(index|extra|find|trusted)|@", text)


def test_the_licences_are_of_the_same_packages():
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (\d\S*) \| (.+) \|$", text, re.MULTILINE)
    assert {name: version for name, version, _ in rows} == pinned()
    assert sum(licence == "not stated" for *_, licence in rows) <= 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no root")
@pytest.mark.parametrize("headless", [True, False])
@pytest.mark.parametrize("user", [0, 1000])
def test_the_browser_has_few_switches_and_its_sandbox(user, headless, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    switches = chrome.chrome_options("/usr/bin/chromium", headless).arguments
    assert ("--no-sandbox" in switches) == (user == 0)
    known = {*chrome.QUIET_ARGUMENTS, *chrome.STEADY_ARGUMENTS, "--window-size=800,600", "--no-sandbox"}
    known |= {"--headless=new", "--disable-gpu"} if headless else set()
    assert set(switches) <= known
    risky = (
        r"disable-web-security|allow-|ignore-certificate|remote-allow|disable-site-isolation|single-process"
    )
    assert not re.search(risky, " ".join(switches))
