"""Write what `requirements.txt` installs on this machine: `requirements-hashes.txt`, every package with the
checksum of its file, and `docs/licences.md`, their licences.

    make lock

    python -m pip install --require-hashes -r requirements-hashes.txt

The checksums are of the files for one kind of machine and one Python; the head of the file says which. No
index is named: pip takes the files from the one that it is configured with, and refuses others.
"""

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS, HASHES, LICENCES = "requirements.txt", "requirements-hashes.txt", "docs/licences.md"
OSI = "License :: OSI Approved :: "
MAX_NAME = 60  # characters of a licence; more is its text


def resolve() -> list[dict]:
    """The packages that pip would install, as its report describes them, sorted by name."""
    command = ("-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-")
    done = subprocess.run(
        [sys.executable, *command, "--only-binary", ":all:", "-r", str(ROOT / REQUIREMENTS)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["install"]


def name_of(package: dict) -> str:
    """The normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()


def hashes(packages: list[dict]) -> str:
    """The text of `requirements-hashes.txt`."""
    machine = f"Python {'.'.join(platform.python_version_tuple()[:2])} on {platform.machine()} {sys.platform}"
    lines = [f"# What {REQUIREMENTS} installs for {machine}, with checksums. Written by `make lock`."]
    for package in packages:
        checksum = package["download_info"]["archive_info"]["hashes"]["sha256"]
        version = package["metadata"]["version"]
        lines.append(f"{name_of(package)}=={version} \\\n    --hash=sha256:{checksum}")
    return "\n".join(lines) + "\n"


def licence_of(package: dict) -> str:
    """What a package says about its licence."""
    about = package["metadata"]
    try:  # pip's report leaves out the newest of the fields
        expression = metadata(about["name"]).get("License-Expression")
    except PackageNotFoundError:
        expression = None
    text = (about.get("license") or "").strip().partition("\n")[0]
    listed = ", ".join(name.removeprefix(OSI) for name in about.get("classifier", ()) if name.startswith(OSI))
    return expression or listed or text[:MAX_NAME] or "not stated"


def licences(packages: list[dict]) -> str:
    """The text of `docs/licences.md`."""
    rows = [
        f"| {name_of(package)} | {package['metadata']['version']} | {licence_of(package)} |"
        for package in packages
    ]
    return f"""# Licences of the packages

`{REQUIREMENTS}` installs these packages. Each states its licence itself. `make lock` writes this list.
The project has the [MIT licence](../LICENSE) and contains none of them. `imageio-ffmpeg` brings a build of
ffmpeg, which has a licence of its own. The user installs Chrome or Chromium and its driver; the game's page
comes from there and is not part of the project.

| package | version | licence |
|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    """Write both files."""
    packages = sorted(resolve(), key=name_of)
    (ROOT / HASHES).write_text(hashes(packages), encoding="utf-8")
    (ROOT / LICENCES).write_text(licences(packages), encoding="utf-8")
    print(f"{HASHES}, {LICENCES}: {len(packages)} packages")


if __name__ == "__main__":
    main()
