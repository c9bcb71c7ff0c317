"""Who wrote a directory of pickles? Loading one runs what is in it, so we load our own.

Files are signed with a secret that never leaves this user's account. A checksum that lies beside the files
would be no proof: who can change a pickle can change its checksum.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import platformdirs

from dino_rl.errors import ModelError

SIGNATURE = "signature"


def sign(directory: Path):
    """Vouch for the files in a directory as they are now."""
    (directory / SIGNATURE).write_text(_signature(directory, _key()) + "\n")


def check(directory: Path, trust: bool):
    """Refuse pickles that were not signed on this account, unless the user trusts them.

    Raises:
        ModelError: signed by somebody else or by nobody, or changed since.
    """
    if trust:
        return
    signature = directory / SIGNATURE
    known = signature.read_text().strip() if signature.is_file() else ""
    if not hmac.compare_digest(known, _signature(directory, _key())):
        raise ModelError(
            f"{directory} holds pickles that were not written on this account, or were changed since; "
            "loading them can run any code: add --trust if you know who made them."
        )


def _signature(directory: Path, key: bytes) -> str:
    seal = hmac.new(key, digestmod=hashlib.sha256)
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / SIGNATURE:
            name = path.relative_to(directory).as_posix()
            seal.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return seal.hexdigest()


def _key() -> bytes:
    path = Path(platformdirs.user_data_dir("dino-rl")) / "signing.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        part.replace(path)
    return path.read_bytes()
