"""Columns that grow piece by piece: of a long log in files that are mapped, else in memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def let_go(column: NDArray[Any]) -> None:
    """Take the pages of a column out of this process, if it is mapped from a file.

    They stay in the kernel's cache as long as there is room, and are mapped again when somebody
    reads them; without this a process seems to hold all that it ever read.
    """
    whole: Any = column
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    # What can be written may hold what no file does.
    if isinstance(whole.base, mmap.mmap) and not whole.flags.writeable:
        whole.base.madvise(mmap.MADV_DONTNEED)


class GrowingColumns:
    """Columns of numbers, side by side.

    The files have no names: they are gone when nobody maps them any more, however a process ends.

    Args:
        dtypes: Of each column, by name.
        folder: Where files go; None: everything stays in memory.
    """

    def __init__(self, dtypes: Mapping[str, DTypeLike], folder: Path | None) -> None:
        self._dtypes = dict(dtypes)
        self._folder = folder
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in self._dtypes}
        self._files: dict[str, IO[bytes]] = {}

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows.

        Args:
            columns: All of them, of one length.
        """
        for name, dtype in self._dtypes.items():
            rows = np.ascontiguousarray(columns[name], dtype=dtype)
            if not len(rows):
                continue
            if self._folder is None:
                self._parts[name].append(rows)
                continue
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            rows.tofile(self._files[name])

    def finish(self) -> dict[str, NDArray[Any]]:
        """Take the columns; no more rows can be added.

        Returns:
            By name; those in files are mapped and cannot be written to.
        """
        found = {name: self._whole(name) for name in self._dtypes}
        for file in self._files.values():
            file.close()
        return found

    def _whole(self, name: str) -> NDArray[Any]:
        dtype, parts = self._dtypes[name], self._parts.pop(name)
        if name in self._files:
            self._files[name].flush()
            return np.asarray(np.memmap(self._files[name], dtype, "r"))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros(0, dtype=dtype), *parts])
