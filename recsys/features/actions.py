"""Events as columns of integers: who did what with which item, and when.

An interaction is one row; an impression is one row per shown item, of the pseudo type `impression`.
Both executions of the aggregates fold these rows, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot, LogSource
from recsys.features.codes import number_texts
from recsys.features.contexts import (
    Contexts,
    impression_contexts,
    impressions_with_rows,
    interaction_contexts,
    recent_impressions,
)
from recsys.features.entities import Entities
from recsys.features.sessions import Visitors
from recsys.features.spilled import GrowingColumns, let_go
from recsys.features.versions import VersionTimeline
from recsys.schema import IMPRESSION


@dataclass(frozen=True, slots=True)
class Actions:
    """Rows in the order in which they became visible.

    Args:
        types: int16 (n,): index into the event type names.
        users: int32 (n,): user rows; `ANONYMOUS` where nobody is named.
        items: int32 (n,): item rows.
        versions: int32 (n,): version row of the item when the event became visible; -1: none yet.
        user_versions: int32 (n,): the same of the user.
        visitors: int32 (n,): visitor rows; `NO_VISITOR` where there is none.
        contexts: int32 (n,): rows of request attributes; `NO_CONTEXT` where there are none.
        visible: int64 (n,): microseconds, ascending.
        occurred: int64 (n,): microseconds.
        values: float64 (n,): the event's value; NaN where it has none.
    """

    types: NDArray[np.int16]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    versions: NDArray[np.int32]
    user_versions: NDArray[np.int32]
    visitors: NDArray[np.int32]
    contexts: NDArray[np.int32]
    visible: NDArray[np.int64]
    occurred: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.types)

    def where(self, rows: NDArray[np.generic] | slice) -> Actions:
        """Choose rows by mask, index or slice.

        Returns:
            The chosen rows, in the given order.
        """
        return Actions(*(getattr(self, name)[rows] for name in ACTION_COLUMNS))

    def in_memory(self, start: int, stop: int) -> Actions:
        """Take consecutive rows out of columns that may be mapped from files.

        Returns:
            The rows; a copy where the columns cannot be written to, because compiled code is kept
            for one kind of array only.
        """
        part = self.where(slice(start, stop))
        columns = (getattr(part, name) for name in ACTION_COLUMNS)
        found = Actions(*(np.require(column, requirements=("C", "W")) for column in columns))
        self.let_go()
        return found

    def let_go(self) -> None:
        """Take what is mapped from files out of this process's memory; the columns stay usable."""
        for name in ACTION_COLUMNS:
            let_go(getattr(self, name))

    def pieces(self, n_rows: int = 1_000_000) -> Iterator[Actions]:
        """Go through columns that may be mapped from files, one part in memory at a time.

        Yields:
            Parts in order, of at most so many rows.
        """
        for start in range(0, len(self), n_rows):
            yield self.in_memory(start, start + n_rows)


def no_actions() -> Actions:
    """Make actions without rows.

    Returns:
        Empty columns of the right types.
    """
    rows, instants = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    types = np.zeros(0, dtype=np.int16)
    return Actions(types, rows, rows, rows, rows, rows, rows, instants, instants, np.zeros(0))


ACTION_COLUMNS: Final = tuple(column.name for column in fields(Actions))
_DTYPES: Final = {name: getattr(no_actions(), name).dtype for name in ACTION_COLUMNS}


class EventTypes:
    """Names of event types as indices; impressions are always index 0."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names: list[str] = [IMPRESSION]
        self._index = {IMPRESSION: 0}
        for name in names:
            self.index(name)

    def index(self, name: str) -> int:
        """Find or give the index of a name.

        Returns:
            The index.
        """
        found = self._index.get(name)
        if found is None:
            found = self._index[name] = len(self.names)
            self.names.append(name)
        return found

    def known(self, name: str) -> int:
        """Find the index of a name without giving one.

        Returns:
            The index, -1 for a name that no event carried.
        """
        return self._index.get(name, -1)


@dataclass(frozen=True, slots=True)
class EncodedLog:
    """A whole log as integers.

    Args:
        items: All items.
        users: All users.
        types: All event types.
        visitors: All visitors.
        contexts: All distinct request attributes.
        actions: All interactions and impressions.
        recent: Impression id, context row and `visible_at` of the impressions of the last day.
    """

    items: Entities
    users: Entities
    types: EventTypes
    visitors: Visitors
    contexts: Contexts
    actions: Actions
    recent: Sequence[tuple[str, int, int]] = ()


#: Is told of a piece of a log, and of the log as it is encoded so far, with the piece's actions.
Watcher: TypeAlias = Callable[[LogSnapshot, EncodedLog], None]


def encode_log(
    source: LogSource, known_types: Sequence[str] = (), watch: Sequence[Watcher] = ()
) -> EncodedLog:
    """Resolve all ids of a log to integer rows, piece by piece.

    Of a log on disk, only what names things stays in memory: ids, versions of items and users,
    distinct contexts, and the ids of sessions where events have one. Its actions are mapped from
    files.

    Args:
        source: The log.
        known_types: Event types that come first, in this order: a fitted model knows them by index.
        watch: Called with every piece and its rows.

    Returns:
        The encoded log; rows are given in order of first sight, so the same log, cut alike, gives
        the same rows.
    """
    log, latest_at = empty_log(known_types), 0
    shown: pl.DataFrame | None = None
    columns = GrowingColumns(_DTYPES, source.scratch)
    for piece in source.pieces():
        rows, shown = encode_next(piece, log, shown)
        columns.append({name: getattr(rows, name) for name in ACTION_COLUMNS})
        latest_at = int(rows.visible[-1]) if len(rows) else latest_at
        for watcher in watch:
            watcher(piece, replace(log, actions=rows))
    recent = [] if shown is None else recent_impressions(shown, latest_at)
    return replace(log, actions=Actions(**columns.finish()), recent=recent)


def empty_log(known_types: Sequence[str] = ()) -> EncodedLog:
    """Make a log without events.

    Returns:
        The log; entities, types, visitors and contexts grow while pieces of it are encoded.
    """
    return EncodedLog(
        items=Entities(),
        users=Entities(),
        types=EventTypes(known_types),
        visitors=Visitors(),
        contexts=Contexts(),
        actions=no_actions(),
    )


def encode_next(
    snapshot: LogSnapshot, log: EncodedLog, shown_before: pl.DataFrame | None
) -> tuple[Actions, pl.DataFrame]:
    """Encode a piece of a log that is later than all that was encoded before.

    Args:
        snapshot: The piece; of a log in memory all of it.
        log: What was encoded before; its entities, types, visitors and contexts grow.
        shown_before: The impressions of earlier pieces that interactions of this one may name, as
            the call before gave them; None: there is no piece before.

    Returns:
        The piece's rows, and the impressions that interactions of the next piece may name.
    """
    _add_versions(log.items, snapshot.items, "item_id")
    _add_versions(log.users, snapshot.users, "user_id")
    of_impressions = impression_contexts(snapshot, log.contexts)
    shown = _shown_rows(snapshot.impressions, of_impressions, log)
    shown_lately = impressions_with_rows(snapshot, of_impressions, shown_before)
    done = _done_rows(snapshot.interactions, interaction_contexts(snapshot, shown_lately), log)
    rows = done  # a snapshot is in the order of time
    if not shown.is_empty():
        order = ("visible_at", "kind", "event_id")
        rows = pl.concat([shown, done]).sort(order, maintain_order=True)
    return _as_actions(rows, log), shown_lately


def _shown_rows(
    impressions: pl.DataFrame, contexts: NDArray[np.int32], log: EncodedLog
) -> pl.DataFrame:
    """Make one row per shown item.

    Returns:
        Integer columns of the same names as those of `_done_rows`.
    """
    shown = (
        impressions
        .select(
            "event_id", "visible_at", "occurred_at", "session_id", "item_ids",
            user=pl.Series(log.users.rows_of(impressions["user_id"], add=True)),
            context=pl.Series(contexts, dtype=pl.Int32),
        )
        .explode("item_ids", empty_as_null=False)
    )  # fmt: skip
    return shown.select(
        "event_id", "visible_at", "occurred_at", "session_id", "user", "context",
        item=pl.Series(log.items.rows_of(shown["item_ids"], add=True)),
        type=pl.lit(log.types.index(IMPRESSION), dtype=pl.Int16),
        value=pl.lit(None, dtype=pl.Float64),
        kind=pl.lit(0),
    )  # fmt: skip


def _done_rows(
    interactions: pl.DataFrame, contexts: NDArray[np.int32], log: EncodedLog
) -> pl.DataFrame:
    """Make one row per interaction.

    Returns:
        What tells their order, and integer columns.
    """
    codes, names = number_texts(interactions["type"])
    for name in sorted(names.to_list()):
        log.types.index(name)
    types = np.array([log.types.index(name) for name in names.to_list()], dtype=np.int16)
    return interactions.select(
        "event_id", "visible_at", "occurred_at", "session_id",
        user=pl.Series(log.users.rows_of(interactions["user_id"], add=True)),
        context=pl.Series(contexts, dtype=pl.Int32),
        item=pl.Series(log.items.rows_of(interactions["item_id"], add=True)),
        type=pl.Series(types[codes], dtype=pl.Int16),
        value=pl.col("value"),
        kind=pl.lit(1),
    )  # fmt: skip


def _as_actions(rows: pl.DataFrame, log: EncodedLog) -> Actions:
    item_rows, user_rows = rows["item"].to_numpy(), rows["user"].to_numpy()
    visible, sessions = rows["visible_at"].to_numpy(), rows["session_id"]
    has_sessions = bool((sessions != "").any())
    return Actions(
        types=rows["type"].to_numpy(),
        users=user_rows,
        items=item_rows,
        versions=VersionTimeline(log.items).as_of(item_rows, visible, side="right"),
        user_versions=VersionTimeline(log.users).as_of(user_rows, visible, side="right"),
        visitors=log.visitors.add(sessions.to_list() if has_sessions else (), user_rows),
        contexts=rows["context"].to_numpy(),
        visible=visible,
        occurred=rows["occurred_at"].to_numpy(),
        values=rows["value"].fill_null(float("nan")).to_numpy(),
    )


def _add_versions(entities: Entities, frame: pl.DataFrame, id_column: str) -> None:
    columns = (id_column, "attributes", "occurred_at", "visible_at")
    for entity_id, attributes, occurred_at, visible_at in frame.select(columns).iter_rows():
        entities.add_version(entity_id, decode_attributes(attributes), occurred_at, visible_at)
