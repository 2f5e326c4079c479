"""Arrays of a safetensors file, mapped: processes that read one bundle share what they read.

Nothing is read but the header until somebody looks at an array, and what is looked at is the
system's own copy of the file.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LENGTH_BYTES: Final = 8
_METADATA: Final = "__metadata__"
_DTYPES: Final = {"F32": "<f4", "F64": "<f8", "U8": "|u1", "I32": "<i4", "I64": "<i8"}


def map_file(path: Path) -> dict[str, NDArray[Any]]:
    """Map a file whose hash was checked before.

    Args:
        path: What `safetensors.numpy.save_file` wrote; nobody may change it, removing it is fine.

    Returns:
        The arrays by name; what is written into them stays in this process.
    """
    with path.open("rb") as file:
        # Not read-only: compiled loops take read-only arrays for another type.
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    start = _LENGTH_BYTES + int.from_bytes(memory[:_LENGTH_BYTES], "little")
    header = json.loads(memory[_LENGTH_BYTES:start])
    header.pop(_METADATA, None)
    return {
        name: np.ndarray(
            tuple(found["shape"]), _DTYPES[found["dtype"]], memory, start + found["data_offsets"][0]
        )
        for name, found in header.items()
    }
