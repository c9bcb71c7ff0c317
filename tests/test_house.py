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
        and not (allowed_folder and re.match(allowed_folder, str(path.relative_to(ROOT))))
        for name in imports_of(path)
        if re.match(forbidden + r"(\.|$)", name)
    ]


# From the ground up: a module may import its own room and those above it in this list, none below it.
LAYERS = (
    ("errors", "resources", "registration"),
    ("program",),
    (
        *("activation", "display", "interrupt", "spec", "config", "backend", "migration", "verbosity"),
        *("locks", "machine", "streams", "workspace"),
    ),
    ("browser", "runs"),  # these two do not know each other
    ("agents", "envs", "saliency"),  # nor do these
    ("training", "scale.config"),
    ("train_config",),
    ("presets", "player"),
    ("recipe", "recorder", "experiment", "export", "report", "dashboard"),
    ("watch_learning",),
    ("scale",),
    ("terminal",),
    ("notebook", "benchmark", "checks"),
    ("cli",),
)
STRANGERS = {  # rooms that do not know each other, though their layers would allow it
    "browser": ("runs",),
    "runs": ("browser", "migration"),
    "agents": ("envs", "runs", "browser", "config"),
    "envs": ("agents", "runs"),
    "training": ("browser",),
    "benchmark": ("experiment", "recipe", "terminal"),
    "dashboard": ("browser", "experiment", "recipe"),
}
LAZY = {  # what a module may import against its layer, in a function: Ray's code is loaded when it is used
    "experiment": ("scale",),
    "player": ("scale",),
}


def room_of(module: str) -> str:
    """The room of a module's full name without the package: "agents" of "agents.dqn"."""
    named = [room for layer in LAYERS for room in layer if module == room or module.startswith(room + ".")]
    return max(named, key=len) if named else ""


def layer_of(room: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if room in layer)


def own_imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, without the package's name."""
    names = {name.removeprefix("dino_rl.") for name in imports_of(path) if name.startswith("dino_rl.")}
    return {name for name in names if room_of(name)}


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT / "dino_rl").with_suffix("").parts)
    return name.removesuffix(".__init__")


ROOMED = [path for path in MODULES if module_name(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", ROOMED, ids=module_name)
def test_imports_only_go_down(path):
    room = room_of(module_name(path))
    assert room, f"{module_name(path)} has no room: add it to LAYERS"
    wrong = []
    for name in own_imports(path):
        other = room_of(name)
        up = layer_of(other) > layer_of(room) and other not in LAZY.get(room, ())
        if up or other in STRANGERS.get(room, ()):
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize(
    ("forbidden", "allowed_folder"),
    [
        ("selenium", "dino_rl/browser/"),
        ("ray", "dino_rl/scale/"),
        ("(keras|tensorflow)", "dino_rl/backend.py"),
        ("argparse", "dino_rl/cli/"),
        ("shtab", "dino_rl/cli/completion.py"),
        ("rich", "dino_rl/(cli/|terminal)"),
        ("(wandb|mlflow)", "dino_rl/training/trackers.py"),
        ("stable_baselines3", "dino_rl/envs/sb3.py"),
        ("onnx", "dino_rl/export/"),
    ],
)
def test_a_library_has_one_room(forbidden, allowed_folder):
    assert MODULES
    assert offenders("dino_rl/", forbidden, allowed_folder) == []


def test_only_the_registry_asks_which_task_it_is():
    """No test for the Dino's id outside its own room and the registry."""
    asking = re.compile(
        r"(==|!=|\bin\b)\s*\(?DINO_ID|DINO_ID\s*(==|!=)|isinstance\([^)]*Dino(Task|Config|Env)"
    )
    allowed = ("dino_rl/envs/dino/", "dino_rl/envs/registry.py", "dino_rl/migration.py")
    found = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if asking.search(path.read_text(encoding="utf-8"))
        and not str(path.relative_to(ROOT)).startswith(allowed)
    ]
    assert found == []


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
