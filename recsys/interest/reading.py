"""A user's past in the words of the interest model: what they liked, what they passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import Histories
from recsys.interest.catalogue import VersionTable

#: Names of the `last_items` aggregates.
LIKED: Final = "text_interest_liked"
SHOWN: Final = "text_interest_shown"

#: Ages fall into buckets by powers of two seconds; the last one starts after 34 years.
N_AGES: Final = 31
N_TYPES: Final = 64


@dataclass(frozen=True, slots=True)
class Past:
    """Items of the past; one row per request.

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
    liked_items = look_up(versions.items, liked.versions)
    shown_items = look_up(versions.items, shown.versions)
    acted_on = (shown_items[:, :, None] == liked_items[:, None, :]).any(axis=2)
    passed_over = np.where(acted_on, np.int32(-1), speaking(shown.versions, versions))
    return (
        Past(speaking(liked.versions, versions), _types(liked), _ages(liked)),
        Past(passed_over, _types(shown), _ages(shown)),
    )


def speaking(version_rows: NDArray[np.int32], versions: VersionTable) -> NDArray[np.int32]:
    """Keep version rows that have text.

    Returns:
        int32, shape of `version_rows`; -1 where there is none.
    """
    found: NDArray[np.int32] = np.where(
        look_up(versions.texts, version_rows) >= 0, version_rows, np.int32(-1)
    ).astype(np.int32)
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


def _types(histories: Histories) -> NDArray[np.int64]:
    return np.clip(histories.types, 0, N_TYPES - 1).astype(np.int64)


def _ages(histories: Histories) -> NDArray[np.int64]:
    seconds = np.nan_to_num(histories.ages_s, nan=0.0, posinf=2.0**N_AGES, neginf=0.0)
    buckets = np.log2(1.0 + np.maximum(seconds, 0.0))
    return np.minimum(buckets, N_AGES - 1).astype(np.int64)
