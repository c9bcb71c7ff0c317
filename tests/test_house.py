"""The rules of CONTRIBUTING.md that a machine can check: who may import what."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT, project_files

MODULES = sorted((ROOT / "dino_rl").rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def offenders(folder: str, forbidden: str, allowed_folder: str = "") -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        if str(path.relative_to(ROOT)).startswith(folder)
        and not (allowed_folder and str(path.relative_to(ROOT)).startswith(allowed_folder))
        for name in imports_of(path)
        if re.match(forbidden + r"(\.|$)", name)
    ]


@pytest.mark.parametrize(
    ("folder", "forbidden", "allowed_folder"),
    [
        ("dino_rl/", "selenium", "dino_rl/browser/"),
        ("dino_rl/", "ray", "dino_rl/scale/"),
        ("dino_rl/", "(keras|tensorflow)", "dino_rl/backend.py"),
        ("dino_rl/agents/", r"dino_rl\.(browser|envs|results|train|evaluate|commands|cli|terminal)", ""),
        ("dino_rl/browser/", r"dino_rl\.(envs|agents|results|train|evaluate|commands|cli|terminal)", ""),
        ("dino_rl/envs/", r"dino_rl\.(agents|results|train|evaluate|commands|cli|terminal)", ""),
        ("dino_rl/results/", r"dino_rl\.(browser|train|commands|cli|terminal)", ""),
        ("dino_rl/settings.py", r"dino_rl\.(?!errors)\w+", ""),
    ],
)
def test_imports_run_one_way(folder, forbidden, allowed_folder):
    assert MODULES
    assert offenders(folder, forbidden, allowed_folder) == []


def test_nothing_of_chromium_is_kept_here():
    """No line of its game, no sprite, no sound: they stay in the user's browser and cache."""
    texts = [
        path
        for path in project_files()
        if path.suffix in {".py", ".js", ".html", ".md", ".json", ".toml", ".css"}
    ]
    assert texts
    theirs = re.compile(
        "Copyright .* The Chromium " + "Authors|data:image/(png|webp);" + "base64,[A-Za-z0-9+/]{40}"
    )
    assert [path.name for path in texts if theirs.search(path.read_text(encoding="utf-8"))] == []
    assert [path.name for path in project_files() if path.suffix in {".mp3", ".ogg", ".wav"}] == []
