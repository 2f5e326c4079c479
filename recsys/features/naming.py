"""When ids were first named by any event: before that, nobody could have asked for them."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import EncodedLog
from recsys.features.entities import UNKNOWN

#: The instant at which an id was named that no event names.
NEVER_NAMED: Final = int(np.iinfo(np.int64).max)


def first_named(log: EncodedLog, what: Literal["items", "users"]) -> NDArray[np.int64]:
    """Find when each item or user was first named by any event.

    Returns:
        int64 (n_rows,): microseconds.
    """
    entities = log.items if what == "items" else log.users
    first = np.full(len(entities.ids), NEVER_NAMED, dtype=np.int64)
    owners, visible, _ = entities.version_table()
    np.minimum.at(first, owners, visible)
    for part in log.actions.pieces():
        rows = part.items if what == "items" else part.users
        np.minimum.at(first, rows[rows >= 0], part.visible[rows >= 0])
    return first


def named_before(
    rows: NDArray[np.int32], first: NDArray[np.int64], as_of: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Keep the rows that had been named before an instant.

    Args:
        rows: int32 (n,): negative ones are of nobody.
        first: What `first_named` gave.
        as_of: int64 (n,): microseconds.

    Returns:
        int32 (n,): `UNKNOWN` in place of the others.
    """
    since = np.append(first, NEVER_NAMED)[np.where(rows >= 0, rows, -1)]
    return np.where(since < as_of, rows, np.int32(UNKNOWN)).astype(np.int32)
