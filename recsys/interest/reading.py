"""A user's past in the words of the interest model: what they liked, what they passed over."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import Histories
from recsys.interest.catalogue import VersionTable

#: Names of the `last_items` aggregates.
LIKED: Final = "text_interest_liked"
SHOWN: Final = "text_interest_shown"


class Past(NamedTuple):
    """Items of the past; one row per request; a tuple, as compiled loops want it.

    Args:
        rows: int32 (n_requests, n): version rows; -1: padding, an item without text, or not of this
            kind.
        types: int64 (n_requests, n): event type, 0 to N_TYPES - 1.
        ages: int64 (n_requests, n): age bucket, 0 to N_AGES - 1.
    """

    rows: NDArray[np.int32]
    types: NDArray[np.int64]
    ages: NDArray[np.int64]


def read_past(liked: Histories, shown: Histories, versions: VersionTable) -> tuple[Past, Past]:
    """Tell what users liked from what they were shown and did nothing with.

    Args:
        liked: Items acted on.
        shown: Items shown, whether acted on or not.
        versions: Known version rows; later ones count as unknown.

    Returns:
        What was liked, and what was passed over.
    """
    # Plugins are loaded by commands that compute nothing; those do without the compiler.
    from recsys.interest.reading_loops import split_past

    found, passed_over = _empty(liked.versions.shape), _empty(shown.versions.shape)
    split_past(
        (versions.texts, versions.items),
        (liked.versions, liked.types, liked.ages_s), (shown.versions, shown.types, shown.ages_s),
        (*found, *passed_over),
    )  # fmt: skip
    return found, passed_over


def speaking(version_rows: NDArray[np.int32], versions: VersionTable) -> NDArray[np.int32]:
    """Keep version rows that have text.

    Returns:
        int32, shape of `version_rows`; -1 where there is none.
    """
    from recsys.interest.reading_loops import keep_speaking

    found = np.empty(version_rows.shape, dtype=np.int32)
    keep_speaking(versions.texts, version_rows.ravel(), found.reshape(-1))
    return found


def look_up(table: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Read a column of a version table.

    Returns:
        int32, shape of `rows`; -1 for rows that it does not have.
    """
    if not len(table):
        return np.full(rows.shape, -1, dtype=np.int32)
    known = (rows >= 0) & (rows < len(table))
    return np.where(known, table[np.where(known, rows, 0)], np.int32(-1))


def _empty(shape: tuple[int, ...]) -> Past:
    return Past(np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64))
