"""Checks of files from strangers before a library reads them: what they refer to, and what they unpack to."""

import zipfile
from pathlib import Path
from typing import Any

import h5py

MAX_OBJECTS = 10_000  # of an HDF5 file; a network has two for each layer


def check_hdf5(file: h5py.File, max_bytes: int):
    """Refuse an HDF5 file that refers to anything outside of itself, or that unpacks to too much.

    Args:
        file: open for reading.
        max_bytes: of all its numbers together, unpacked.

    Raises:
        ValueError: it holds something else than groups and plain numbers.
    """
    seen: set[Any] = set()
    waiting: list[h5py.Group] = [file]
    unpacked = 0
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link, which may lead to another file")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # hard links can form cycles
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise ValueError(f"it has more than {MAX_OBJECTS:,} objects")
            if isinstance(item, h5py.Group):
                waiting.append(item)
                continue
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
                raise ValueError(f"{name!r} holds no plain numbers")
            if item.external or item.is_virtual:
                raise ValueError(f"{name!r} is stored in another file")
            unpacked += item.size * item.dtype.itemsize
            if unpacked > max_bytes:
                raise ValueError(f"it unpacks to more than {max_bytes:,} bytes")


def check_zip(path: Path, max_bytes: int):
    """Refuse an archive that unpacks to too much.

    Args:
        path: of the archive.
        max_bytes: of all its members together, unpacked. Members that say less than they unpack to are
            damaged, which `zipfile` notices.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read.
        ValueError: it unpacks to more.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > max_bytes:
            raise ValueError(f"{path.name} unpacks to more than {max_bytes:,} bytes")
