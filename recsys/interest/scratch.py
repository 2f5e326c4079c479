"""What the compiled loops of scoring read, and where they lay a request out.

A past is laid out as what was liked, then what was passed over, each kind filled up with items that
count for nothing to what goes through a loop side by side.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.interest.reading import Past
from recsys.interest.stored_vectors import Head, Vector

#: Items of a past that go through a loop side by side.
ITEMS: Final = 32
#: Vectors that are compared side by side; the loops are written out for four.
AT_ONCE: Final = 4


class Stored(NamedTuple):
    """What is stored of a catalogue.

    Args:
        text_rows: int32 (n_versions,): -1: no text.
        plain: As in `TextTable`, like the next three.
        points: See `plain`.
        values: See `plain`.
        appeal: See `plain`.
        traits: As in `Known`, like the next one.
        rates: See `traits`.
    """

    text_rows: NDArray[np.int32]
    plain: Vector
    points: Vector
    values: Vector
    appeal: Vector
    traits: Vector
    rates: Vector


class Scratch(NamedTuple):
    """Where a request is laid out; n is the number of items of a past, filled up.

    Args:
        plain: (n, k): vectors of what was liked.
        points: (n, size): of both kinds.
        four: int64 (4,): candidates that are scored together, by their places.
        four_rows: int32 (4,): their version rows.
        four_plain: (4, k): their vectors.
        four_points: (4, size): their points.
        near: (4, n): their similarities.
        sharpness: (n,): factor of the logarithm of attention.
        offset: (n,): summand of it.
        attention: (n,)
        shares: (n,): of the sum of similarities.
        bits: int32 (n,): of powers of two.
        powers: The same memory as numbers.
        columns: (n_traits, n): traits of both kinds; rows are filled up to what `compare` takes.
        heavy: (n,): one of them, weighted.
        weights: (n,): of both kinds in the regression.
        surprise: (n,)
        system: (n_traits, n_traits): its columns are filled up like the rows of `columns`.
        taste: (n_traits,)
    """

    plain: Vector
    points: Vector
    four: NDArray[np.int64]
    four_rows: NDArray[np.int32]
    four_plain: Vector
    four_points: Vector
    near: Vector
    sharpness: Vector
    offset: Vector
    attention: Vector
    shares: Vector
    bits: NDArray[np.int32]
    powers: Vector
    columns: Vector
    heavy: Vector
    weights: Vector
    surprise: Vector
    system: Vector
    taste: Vector


class Work(NamedTuple):
    """What a compiled loop works with.

    Args:
        pasts: What was liked and what was passed over.
        stored: What is stored of the catalogue.
        head: Its arrays are empty before the first fit.
        scratch: Where a request is laid out.
    """

    pasts: tuple[Past, Past]
    stored: Stored
    head: Head
    scratch: Scratch


def filled(n: int, step: int) -> int:
    """Round up to whole steps.

    Returns:
        The next multiple of `step`.
    """
    return (n + step - 1) // step * step


def make_scratch(pasts: tuple[Past, Past], stored: Stored) -> Scratch:
    """Make room for what is laid out of a request.

    Args:
        pasts: How long pasts are.
        stored: How long vectors are.

    Returns:
        Arrays without content.
    """
    n = sum(filled(past.rows.shape[1], ITEMS) for past in pasts)
    n_traits = stored.traits.shape[1] + 1
    n_filled = filled(n_traits, AT_ONCE)
    bits = np.empty(n, np.int32)
    sharpness, offset, attention, shares, heavy, weights, surprise = np.empty((7, n), np.float32)
    return Scratch(
        plain=np.empty((n, stored.plain.shape[1]), np.float32),
        points=np.empty((n, stored.points.shape[1]), np.float32),
        four=np.empty(AT_ONCE, np.int64),
        four_rows=np.empty(AT_ONCE, np.int32),
        four_plain=np.empty((AT_ONCE, stored.plain.shape[1]), np.float32),
        four_points=np.empty((AT_ONCE, stored.points.shape[1]), np.float32),
        near=np.empty((AT_ONCE, n), np.float32),
        sharpness=sharpness,
        offset=offset,
        attention=attention,
        shares=shares,
        bits=bits,
        powers=bits.view(np.float32),
        columns=np.zeros((n_filled, n), np.float32),
        heavy=heavy,
        weights=weights,
        surprise=surprise,
        system=np.empty((n_traits, n_filled), np.float32),
        taste=np.empty(n_traits, np.float32),
    )
