"""The same users and items by the rows of another log, which has seen less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.catalogue import Baskets
from recsys.features.actions import EncodedLog
from recsys.features.entities import Entities
from recsys.training.labels import LabelledSlates


def lists_of(test: LabelledSlates, log: EncodedLog, other: EncodedLog) -> LabelledSlates:
    """Name users and items of lists by the rows of another log.

    Returns:
        The same lists; who or what the other log never saw is unknown.
    """
    slates = replace(
        test.slates,
        users=_rows(test.slates.users, log.users, other.users),
        items=_rows(test.slates.items, log.items, other.items),
    )
    return replace(test, slates=slates)


def baskets_of(baskets: Baskets, log: EncodedLog, other: EncodedLog) -> Baskets:
    """Name users and items of baskets by the rows of another log.

    Returns:
        The same baskets.
    """
    return replace(
        baskets,
        users=_rows(baskets.users, log.users, other.users),
        items=_rows(baskets.items, log.items, other.items),
    )


def _rows(rows: NDArray[np.int32], mine: Entities, others: Entities) -> NDArray[np.int32]:
    if not len(mine.ids):
        return rows
    table = others.rows(mine.ids)
    return np.where(rows >= 0, table[np.maximum(rows, 0)], rows).astype(np.int32)
