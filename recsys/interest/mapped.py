"""Arrays of a safetensors file, mapped: processes that read one bundle share what they read.

Nothing is read but the header until somebody looks at an array, and what is looked at is the
system's own copy of the file.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Container
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.mapped import ROOM, with_room

_LENGTH_BYTES: Final = 8
_METADATA: Final = "__metadata__"
_DTYPES: Final = {"F32": "<f4", "F64": "<f8", "U8": "|u1", "I32": "<i4", "I64": "<i8"}


def map_file(path: Path, growing: Container[str] = ()) -> dict[str, NDArray[Any]]:
    """Map a file whose hash was checked before.

    Args:
        path: What `safetensors.numpy.save_file` wrote; nobody may change it, removing it is fine.
        growing: Arrays that will get more rows.

    Returns:
        The arrays by name; what is written into them stays in this process. By the name with `ROOM`
        behind it the rows of one that will grow together with the room for more, where there is
        any.
    """
    found: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:
        # Not read-only: compiled loops take read-only arrays for another type.
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = _LENGTH_BYTES + int.from_bytes(memory[:_LENGTH_BYTES], "little")
        header = json.loads(memory[_LENGTH_BYTES:start])
        header.pop(_METADATA, None)
        for name, told in header.items():
            offset = start + told["data_offsets"][0]
            rows = np.ndarray(tuple(told["shape"]), _DTYPES[told["dtype"]], memory, offset)
            room = with_room(file.fileno(), offset, rows) if name in growing else None
            if room is not None:
                found[name + ROOM], rows = room, room[: len(rows)]
            found[name] = rows
    return found
