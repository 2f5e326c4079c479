"""Inner loops that cannot be written over whole arrays are compiled when first called.

The machine code is kept beside the source (or in the user's cache folder where that cannot be
written), so only the first run after an installation waits for the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a function over numpy arrays and scalars; it runs without the interpreter's lock.

    Returns:
        The function, compiled once per combination of argument types.
    """
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the source's folder nor the user's cache can be written
        made = numba.njit(nogil=True)(function)
    return cast(_F, made)
