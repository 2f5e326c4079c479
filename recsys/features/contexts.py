"""Request attributes of past impressions, so that an event can count for a query or a device.

An interaction belongs to the request of the impression that it names, if that became visible no
later than the interaction and at most `REMEMBERED_US` before it. Distinct contexts are kept once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot
from recsys.features.codes import SingleCodes
from recsys.schema import Attributes

#: How long an impression's request is remembered for interactions that name it.
REMEMBERED_US: Final = 86_400 * 1_000_000
#: The row of no context at all.
NO_CONTEXT: Final = -1


class Contexts:
    """Distinct contexts as rows, with their attributes as codes."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._attributes: list[Attributes] = []
        self._codes: dict[str, SingleCodes] = {}

    def __len__(self) -> int:
        return len(self._attributes)

    def row(self, context: Attributes) -> int:
        """Find or give the row of a context.

        Returns:
            Its row, `NO_CONTEXT` for an empty one.
        """
        if not context:
            return NO_CONTEXT
        key = repr(sorted(context.items()))
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = len(self._attributes)
            self._attributes.append(context)
            for name, codes in self._codes.items():
                codes.append(context.get(name))
        return found

    def codes(self, name: str) -> SingleCodes:
        """Give an attribute as codes of all rows.

        Returns:
            The codes.
        """
        if name not in self._codes:
            codes = self._codes[name] = SingleCodes()
            for attributes in self._attributes:
                codes.append(attributes.get(name))
        return self._codes[name]

    def record(self) -> tuple[list[Attributes], list[str]]:
        """Write everything down, for a snapshot.

        Returns:
            Attributes of each row, and the names of those that are codes.
        """
        return self._attributes, list(self._codes)

    def restore(self, attributes: Sequence[Attributes], names: Sequence[str]) -> None:
        """Become what was written down; must be empty."""
        for context in attributes:
            self.row(context)
        for name in names:
            self.codes(name)


class RecentImpressions:
    """Contexts of the impressions of the last day, by impression id."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, int]] = {}
        self._order: deque[tuple[int, str]] = deque()

    def add(self, impression_id: str, row: int, visible_at: int) -> None:
        """Remember an impression, and forget those that are too old."""
        self._rows[impression_id] = (row, visible_at)
        self._order.append((visible_at, impression_id))
        while self._order and self._order[0][0] < visible_at - REMEMBERED_US:
            old_at, old_id = self._order.popleft()
            if self._rows.get(old_id, (0, old_at + 1))[1] == old_at:
                del self._rows[old_id]

    def find(self, impression_id: str, visible_at: int) -> int:
        """Find the context of an interaction that names an impression.

        Returns:
            Its row, `NO_CONTEXT` where there is none.
        """
        found = self._rows.get(impression_id) if impression_id else None
        if found is None or visible_at - found[1] > REMEMBERED_US:
            return NO_CONTEXT
        return found[0]

    def record(self) -> list[tuple[str, int, int]]:
        """Write down what is remembered, for a snapshot.

        Returns:
            Impression id, row and `visible_at`, oldest first.
        """
        return [
            (key, self._rows[key][0], at)
            for at, key in self._order
            if key in self._rows and self._rows[key][1] == at
        ]


def impression_contexts(snapshot: LogSnapshot, contexts: Contexts) -> NDArray[np.int32]:
    """Give a context row to every impression of a log.

    Returns:
        int32 (n_impressions,), in the snapshot's order.
    """
    texts = snapshot.impressions["context"]
    distinct = texts.unique(maintain_order=True)
    rows = {text: contexts.row(decode_attributes(text)) for text in distinct.to_list()}
    if not len(texts):
        return np.zeros(0, dtype=np.int32)
    return texts.replace_strict(rows, return_dtype=pl.Int32).to_numpy()


def impressions_with_rows(
    snapshot: LogSnapshot, rows: NDArray[np.int32], before: pl.DataFrame | None
) -> pl.DataFrame:
    """List the impressions that interactions of a piece of a log may name.

    Args:
        snapshot: The piece.
        rows: int32 (n_impressions,): context rows of its impressions.
        before: The same list of the piece before; None: there is none.

    Returns:
        impression_id, visible_at and row, in order of `visible_at`.
    """
    shown = snapshot.impressions.select(
        "impression_id", "visible_at", pl.Series("row", rows, dtype=pl.Int32)
    )
    if before is None:
        return shown
    frames = (snapshot.impressions, snapshot.interactions)
    first = min((int(f["visible_at"][0]) for f in frames if len(f)), default=0)
    return before.filter(pl.col("visible_at") >= first - REMEMBERED_US).vstack(shown)


def interaction_contexts(snapshot: LogSnapshot, shown: pl.DataFrame) -> NDArray[np.int32]:
    """Find the context of every interaction of a log.

    Args:
        snapshot: The log, or a piece of it.
        shown: What `impressions_with_rows` gave.

    Returns:
        int32 (n_interactions,), in the snapshot's order; `NO_CONTEXT` where there is none.
    """
    if shown.is_empty() or shown["row"].max() == NO_CONTEXT:
        return np.full(snapshot.interactions.height, NO_CONTEXT, dtype=np.int32)
    done = snapshot.interactions.select("impression_id", "visible_at")
    found = done.join_asof(
        shown,
        on="visible_at",
        by="impression_id",
        strategy="backward",
        tolerance=REMEMBERED_US,
        check_sortedness=False,  # both are sorted by visible_at
    )
    return found["row"].fill_null(NO_CONTEXT).to_numpy().astype(np.int32)


def recent_impressions(shown: pl.DataFrame, latest_at: int) -> list[tuple[str, int, int]]:
    """List the impressions that interactions yet to come may name.

    Args:
        shown: What `impressions_with_rows` gave.
        latest_at: When the log's last event became visible, microseconds.

    Returns:
        Impression id, context row and `visible_at`, oldest first.
    """
    found = shown.filter(pl.col("visible_at") >= latest_at - REMEMBERED_US)
    return list(found.select("impression_id", "row", "visible_at").iter_rows())
