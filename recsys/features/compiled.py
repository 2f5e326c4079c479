"""Inner loops that cannot be written over whole arrays are compiled when first called.

The machine code is kept beside the source (or in the user's cache folder where that cannot be
written), so only the first run after an installation waits for the compiler. Where the disk is full
it is not kept, and the next process compiles again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a function over numpy arrays and scalars; it runs without the interpreter's lock.

    Returns:
        The function, compiled once per combination of argument types.
    """
    return cast(_F, _made(function))


def compiled_loop(function: _F) -> _F:
    """Compile a loop that makes no array, but fills those that it is given.

    Such a loop needs no count of references to arrays. Keeping one costs as much as ten additions
    to a counter wherever an array goes through a branch or into another function.

    Returns:
        The function; compiling it fails when it makes an array after all.
    """
    return cast(_F, _made(function, _nrt=False))


def compiled_sums(function: _F) -> _F:
    """Compile a loop that makes no array and may add up its sums in any order, side by side.

    Returns:
        The function; for arrays of one length the order is always the same.
    """
    return cast(_F, _made(function, _nrt=False, fastmath={"reassoc", "contract", "nsz", "nnan"}))


def _made(function: Callable[..., Any], **options: bool | set[str]) -> object:
    """Compile a function when it is called, and keep its machine code where that can be.

    Returns:
        The function.
    """
    # `_nrt` has no public name, so the types of njit do not know it.
    compile_with: Any = numba.njit
    try:
        made = compile_with(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the source's folder nor the user's cache can be written
        made = compile_with(nogil=True, **options)(function)
    cache: Any = getattr(made, "_cache", None)
    keep = getattr(cache, "save_overload", None)
    if keep is not None:

        def keep_if_there_is_room(*machine_code: object) -> None:
            with contextlib.suppress(OSError):  # of which numba would let the call die
                keep(*machine_code)

        cache.save_overload = keep_if_there_is_room
    return made


def inlined(function: _F) -> _F:
    """Compile a function into each function that calls it; for the bodies of loops.

    Returns:
        The function, for compiled functions to call.
    """
    return cast(_F, numba.njit(inline="always")(function))
