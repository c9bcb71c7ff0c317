"""Signatures of directories that hold pickles. Loading a pickle can run any code, so only those that were
written on this account are loaded without the user's consent.

The key of the signatures is a secret that never leaves this user's account. A checksum beside the files would
prove nothing: who can change a pickle can change its checksum.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import platformdirs

from dino_rl.errors import ModelError

SIGNATURE = "signature"


def sign(directory: Path) -> None:
    """Sign the files in a directory as they are now."""
    (directory / SIGNATURE).write_text(_signature(directory, _key()) + "\n")


def check_signature(directory: Path, trust: bool) -> None:
    """Refuse pickles that were not signed on this account, unless the user trusts them.

    Raises:
        ModelError: they were signed by somebody else or by nobody, or were changed since.
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
    signature = hmac.new(key, digestmod=hashlib.sha256)
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / SIGNATURE:
            name = path.relative_to(directory).as_posix()
            signature.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return signature.hexdigest()


def _key() -> bytes:
    path = Path(platformdirs.user_data_dir("dino-rl")) / "signing.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        part.replace(path)
    return path.read_bytes()
