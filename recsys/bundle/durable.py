"""Writes that survive a power cut, and the walk over a tree that they need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file in one step: readers, and a power cut, leave the old bytes or the new."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring all files and folders of a tree to disk."""
    for entry in walk_files(folder):
        sync(Path(entry.path))
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        sync(path)
    sync(folder)


def walk_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Visit everything below a folder that is not itself a folder.

    Yields:
        Entries, in no particular order.
    """
    waiting: list[str | Path] = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry


def sync(path: Path) -> None:
    """Bring one file, or the names in one folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
