"""A user's past in the words of the interest model: what they liked, what they passed over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
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
    found, passed_over = _empty(liked.versions.shape), _empty(shown.versions.shape)
    _read_past(
        (versions.texts, versions.items),
        (liked.versions, liked.types, liked.ages_s), (shown.versions, shown.types, shown.ages_s),
        (*_columns(found), *_columns(passed_over)),
    )  # fmt: skip
    return found, passed_over


def speaking(version_rows: NDArray[np.int32], versions: VersionTable) -> NDArray[np.int32]:
    """Keep version rows that have text.

    Returns:
        int32, shape of `version_rows`; -1 where there is none.
    """
    found = np.empty(version_rows.shape, dtype=np.int32)
    _speaking(versions.texts, version_rows.ravel(), found.reshape(-1))
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


def _columns(past: Past) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    return past.rows, past.types, past.ages


def _empty(shape: tuple[int, ...]) -> Past:
    return Past(np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64))


@compiled
def _speaking(texts: NDArray[np.int32], rows: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    for i in range(len(rows)):
        out[i] = rows[i] if 0 <= rows[i] < len(texts) and texts[rows[i]] >= 0 else -1


@compiled
def _age_bucket(seconds: float) -> int:
    if not seconds > 0.0:
        return 0
    # The exponent of a number is the logarithm, rounded down, to the bit.
    return min(math.frexp(1.0 + min(seconds, 2.0**N_AGES))[1] - 1, N_AGES - 1)


@compiled
def _read_side(
    texts: NDArray[np.int32],
    row: int,
    kind: int,
    seconds: float,
) -> tuple[int, int, int]:
    is_there = 0 <= row < len(texts) and texts[row] >= 0
    return row if is_there else -1, min(max(kind, 0), N_TYPES - 1), _age_bucket(seconds)


@compiled
def _read_past(
    table: tuple[NDArray[np.int32], NDArray[np.int32]],
    liked: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float32]],
    shown: tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float32]],
    out: tuple[
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
    ],
) -> None:
    texts, items = table
    liked_rows, liked_types, liked_ages = liked
    shown_rows, shown_types, shown_ages = shown
    to_rows, to_types, to_ages, past_rows, past_types, past_ages = out
    n_requests, n_liked = liked_rows.shape
    for request in range(n_requests):
        for i in range(n_liked):
            to_rows[request, i], to_types[request, i], to_ages[request, i] = _read_side(
                texts, liked_rows[request, i], liked_types[request, i], liked_ages[request, i]
            )
        for i in range(shown_rows.shape[1]):
            row = shown_rows[request, i]
            found, kind, age = _read_side(
                texts, row, shown_types[request, i], shown_ages[request, i]
            )
            if found >= 0:
                for k in range(n_liked):
                    other = liked_rows[request, k]
                    if 0 <= other < len(items) and items[other] == items[row]:
                        found = -1
                        break
            past_rows[request, i], past_types[request, i], past_ages[request, i] = found, kind, age
