"""Events as columns of integers: who did what with which item, and when.

An interaction is one row; an impression is one row per shown item, of the pseudo type `impression`.
Both executions of the aggregates fold these rows, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot
from recsys.features.contexts import (
    Contexts,
    impression_contexts,
    interaction_contexts,
    recent_impressions,
)
from recsys.features.entities import Entities
from recsys.features.sessions import Visitors
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
        return Actions(*(np.require(column, requirements=("C", "W")) for column in columns))


def no_actions() -> Actions:
    """Make actions without rows.

    Returns:
        Empty columns of the right types.
    """
    rows, instants = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    types = np.zeros(0, dtype=np.int16)
    return Actions(types, rows, rows, rows, rows, rows, rows, instants, instants, np.zeros(0))


ACTION_COLUMNS: Final = tuple(column.name for column in fields(Actions))


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


def encode_log(snapshot: LogSnapshot, known_types: Sequence[str] = ()) -> EncodedLog:
    """Resolve all ids of a log to integer rows.

    Args:
        snapshot: The log.
        known_types: Event types that come first, in this order: a fitted model knows them by index.

    Returns:
        The encoded log; rows are given in order of first sight, so the same log gives the same
        rows.
    """
    items = _entities(snapshot.items, "item_id")
    users = _entities(snapshot.users, "user_id")
    shown = snapshot.impressions.select("item_ids").explode("item_ids")["item_ids"]
    for ids in (shown, snapshot.interactions["item_id"]):
        items.add_ids(ids.drop_nulls().unique(maintain_order=True).to_list())
    for ids in (snapshot.impressions["user_id"], snapshot.interactions["user_id"]):
        users.add_ids(ids.unique(maintain_order=True).to_list())
    found = sorted(snapshot.interactions["type"].unique().to_list())
    log = EncodedLog(
        items=items,
        users=users,
        types=EventTypes([*known_types, *found]),
        visitors=Visitors(),
        contexts=Contexts(),
        actions=no_actions(),
    )
    rows = _action_rows(snapshot, log.contexts)
    recent = recent_impressions(snapshot, log.contexts)
    return replace(log, actions=_encode_rows(rows, log), recent=recent)


def _encode_rows(rows: pl.DataFrame, log: EncodedLog) -> Actions:
    items, users = log.items, log.users
    item_rows, user_rows = _rows_of(items, rows["item_id"]), _rows_of(users, rows["user_id"])
    visible = rows["visible_at"].to_numpy()
    sessions = rows["session_id"]
    has_sessions = bool((sessions != "").any())
    return Actions(
        types=_look_up(rows["type"], {n: i for i, n in enumerate(log.types.names)}, np.int16),
        users=user_rows,
        items=item_rows,
        versions=VersionTimeline(items).as_of(item_rows, visible, side="right"),
        user_versions=VersionTimeline(users).as_of(user_rows, visible, side="right"),
        visitors=log.visitors.add(sessions.to_list() if has_sessions else (), user_rows),
        contexts=rows["context"].to_numpy().astype(np.int32),
        visible=visible,
        occurred=rows["occurred_at"].to_numpy(),
        values=rows["value"].fill_null(float("nan")).to_numpy(),
    )


def _rows_of(entities: Entities, ids: pl.Series) -> NDArray[np.int32]:
    """Look a long column of ids up: each distinct id once.

    Returns:
        int32 (n,): rows.
    """
    if ids.is_empty():
        return np.zeros(0, dtype=np.int32)
    distinct = ids.unique()
    rows = entities.rows(distinct.to_list())
    index = pl.DataFrame({"id": distinct, "row": rows})
    found = ids.to_frame("id").join(index, on="id", how="left", maintain_order="left")
    return found["row"].to_numpy().astype(np.int32)


def _entities(frame: pl.DataFrame, id_column: str) -> Entities:
    entities = Entities()
    columns = (id_column, "attributes", "occurred_at", "visible_at")
    for entity_id, attributes, occurred_at, visible_at in frame.select(columns).iter_rows():
        entities.add_version(entity_id, decode_attributes(attributes), occurred_at, visible_at)
    return entities


def _action_rows(snapshot: LogSnapshot, contexts: Contexts) -> pl.DataFrame:
    """Put impressions (one row per shown item) and interactions into one time-ordered table.

    Returns:
        Columns type, user_id, item_id, session_id, context, visible_at, occurred_at, value.
    """
    order = ("visible_at", "kind", "event_id")
    said = ("type", "user_id", "item_id", "session_id", "context", "occurred_at", "value")
    columns = (*said, *order)
    of_impressions = impression_contexts(snapshot, contexts)
    of_interactions = interaction_contexts(snapshot, of_impressions)
    shown = (
        snapshot.impressions
        .with_columns(context=pl.Series(of_impressions, dtype=pl.Int32))
        .explode("item_ids")
        .rename({"item_ids": "item_id"})
        .with_columns(type=pl.lit(IMPRESSION), value=pl.lit(None, dtype=pl.Float64), kind=pl.lit(0))
        .select(columns)
    )
    done = snapshot.interactions.with_columns(
        kind=pl.lit(1), context=pl.Series(of_interactions, dtype=pl.Int32)
    ).select(columns)
    return pl.concat([shown, done]).sort(order, maintain_order=True)


def _look_up(names: pl.Series, index: dict[str, int], dtype: type[np.int16]) -> NDArray[np.int16]:
    if names.is_empty():
        return np.zeros(0, dtype=dtype)
    return names.replace_strict(index, return_dtype=pl.Int16).to_numpy().astype(dtype)


class VersionTimeline:
    """Which version of an entity was the latest at an instant.

    Versions are sorted by (owner, visible_at); a running maximum of (occurred_at, arrival) within
    an owner makes a late version that describes an earlier time lose. A query is one binary search.
    """

    def __init__(self, entities: Entities) -> None:
        owners, visible, occurred = entities.version_table()
        self._times, time_ranks = np.unique(visible, return_inverse=True)
        self._span = len(self._times) + 1
        order = np.argsort(owners, kind="stable")
        self._keys = owners[order].astype(np.int64) * self._span + time_ranks[order]
        n_versions = len(owners)
        by_time = np.lexsort((np.arange(n_versions), occurred))
        ranks = np.empty(n_versions, dtype=np.int64)
        ranks[by_time] = np.arange(n_versions)
        leaders = np.maximum.accumulate(owners[order].astype(np.int64) * n_versions + ranks[order])
        self._latest = by_time[leaders % n_versions].astype(np.int32) if n_versions else ranks
        self._owners = owners[order]

    def as_of(
        self, owners: NDArray[np.int32], instants: NDArray[np.int64], side: str = "left"
    ) -> NDArray[np.int32]:
        """Find the latest version of each owner before an instant.

        Args:
            owners: int32 (n,): entity rows; negative ones have no version.
            instants: int64 (n,): microseconds.
            side: "left": visible strictly before the instant; "right": or at it.

        Returns:
            int32 (n,): version rows, -1 where there is none.
        """
        if not len(self._keys):
            return np.full(len(owners), -1, dtype=np.int32)
        right = side == "right"
        ranks = np.searchsorted(self._times, instants, side="right" if right else "left")
        position = np.searchsorted(self._keys, owners.astype(np.int64) * self._span + ranks) - 1
        found = np.maximum(position, 0)
        mine = (position >= 0) & (self._owners[found] == owners)
        return np.where(mine, self._latest[found], np.int32(-1)).astype(np.int32)
