"""The online execution: incremental state, updated by each event, read by integer row.

The state of a whole log is built by the same `add` of the same cells, in one large batch. Reading
is array gathers; no row is joined. Not thread-safe: the owner serialises `apply` and reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions, EncodedLog
from recsys.features.cells import Cells, HistoryCells, make_cells
from recsys.features.keys import (
    Key,
    KeyedRows,
    action_keys,
    candidate_keys,
    parse_key,
    reduce_values,
)
from recsys.features.models import Histories
from recsys.features.reading import BatchMemo, age_s, type_mask
from recsys.features.slates import Slates
from recsys.features.slots import CombinedSlots
from recsys.features.vocabulary import Aggregate
from recsys.schema import (
    IMPRESSION,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)


class OnlineState:
    """Aggregates as of now; as a reader it sees everything that was applied.

    Args:
        log: Where the state starts; it takes over the log's entities and lets them grow.
        aggregates: What to keep.
    """

    def __init__(self, log: EncodedLog, aggregates: Sequence[Aggregate]) -> None:
        self.items = log.items
        self.users = log.users
        self.types = log.types
        self._cells: dict[Aggregate, Cells] = {}
        self._histories: dict[Aggregate, HistoryCells] = {}
        self._slots: dict[str, CombinedSlots] = {}
        self._memo = BatchMemo()
        for aggregate in aggregates:
            if aggregate.fold == "last_items":
                self._histories[aggregate] = HistoryCells(aggregate.n)
            else:
                self._cells[aggregate] = make_cells(aggregate)
        self._add(log.actions)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events in, in order of `visible_at`, each with an event id not seen before."""
        self._memo.clear()
        pending: list[VisibleEvent] = []
        for visible in events:
            event = visible.event
            if isinstance(event, ItemEvent | UserEvent):
                self._add_interactions(pending)
                pending = []
                self._add_version(event, visible.visible_at)
            else:
                pending.append(visible)
        self._add_interactions(pending)

    def item_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the latest version rows of all candidates.

        Returns:
            int32 (n_candidates,), -1 where nothing is known.
        """
        memo = self._memo.of(slates)
        if "versions" not in memo:
            memo["versions"] = self.items.current_versions(slates.items)
        versions: NDArray[np.int32] = memo["versions"]
        return versions

    def user_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the latest version rows of all users.

        Returns:
            int32 (n_requests,), -1 where nothing is known.
        """
        return self.users.current_versions(slates.users)

    def read(self, aggregate: Aggregate, slates: Slates) -> NDArray[np.float64]:
        """Read a scalar aggregate for every candidate.

        Returns:
            float64 (n_candidates,): NaN where it is missing.
        """
        keyed, slots = self._asked(aggregate.by, slates)
        instants = slates.spread(slates.as_of)[keyed.positions].astype(np.int64, copy=False)
        values = self._cells[aggregate].read(slots, instants)
        return reduce_values(values, keyed, len(slates.items), aggregate.reduce)

    def histories(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read the last items of every request's user.

        Returns:
            The histories, newest first.
        """
        cells = self._histories[aggregate]
        items, types, occurred = cells.read(slates.users.astype(np.int64))
        there = types >= 0
        versions = self.items.current_versions(items)
        ages = np.where(there, age_s(slates.as_of[:, None], occurred), np.nan)
        return Histories(versions=versions, types=types, ages_s=ages.astype(np.float32))

    def _asked(self, by: str, slates: Slates) -> tuple[KeyedRows, NDArray[np.int64]]:
        memo = self._memo.of(slates)
        if by not in memo:
            key = parse_key(by)
            versions = self.item_versions(slates) if key.attribute else slates.items
            keyed = candidate_keys(key, slates, versions, self.items)
            memo[by] = keyed, keyed.keys if key.dense else self._combined(by).look_up(keyed.keys)
        asked: tuple[KeyedRows, NDArray[np.int64]] = memo[by]
        return asked

    def _combined(self, by: str) -> CombinedSlots:
        return self._slots.setdefault(by, CombinedSlots())

    def _add_version(self, event: ItemEvent | UserEvent, visible_at: int) -> None:
        if isinstance(event, ItemEvent):
            self.items.add_version(event.item_id, event.attributes, event.occurred_at, visible_at)
        else:
            self.users.add_version(event.user_id, event.attributes, event.occurred_at, visible_at)

    def _add_interactions(self, events: Sequence[VisibleEvent]) -> None:
        if events:
            self._add(self._encode(events))

    def _encode(self, events: Sequence[VisibleEvent]) -> Actions:
        rows = [row for visible in events for row in _action_rows(visible.event)]
        counts = [_n_rows(visible.event) for visible in events]
        users, items, types, values = zip(*rows, strict=True)
        self.users.add_ids(users)
        self.items.add_ids(items)
        item_rows = self.items.rows(items)
        return Actions(
            types=np.array([self.types.index(name) for name in types], dtype=np.int16),
            users=self.users.rows(users),
            items=item_rows,
            versions=self.items.current_versions(item_rows),
            visible=np.repeat(np.array([v.visible_at for v in events], dtype=np.int64), counts),
            occurred=np.repeat(
                np.array([v.event.occurred_at for v in events], dtype=np.int64), counts
            ),
            values=np.array(values, dtype=np.float64),
        )

    def _add(self, actions: Actions) -> None:
        slotted: dict[tuple[str, tuple[str, ...]], tuple[NDArray[np.int64], Actions]] = {}
        state: dict[Aggregate, Cells | HistoryCells] = {**self._cells, **self._histories}
        for aggregate, cells in state.items():
            share = (aggregate.by, aggregate.of)
            if share not in slotted:
                chosen = actions.where(type_mask(aggregate.of, self.types)[actions.types])
                slotted[share] = self._slotted(aggregate.by, parse_key(aggregate.by), chosen)
            slots, events = slotted[share]
            if len(slots):
                cells.add(slots, events)

    def _slotted(self, by: str, key: Key, actions: Actions) -> tuple[NDArray[np.int64], Actions]:
        keyed = action_keys(key, actions, self.items)
        slots = keyed.keys if key.dense else self._combined(by).assign(keyed.keys)
        return slots, actions if keyed.one_each else actions.where(keyed.positions)


def _n_rows(event: Event) -> int:
    return len(event.item_ids) if isinstance(event, ImpressionEvent) else 1


def _action_rows(event: Event) -> list[tuple[str, str, str, float]]:
    """List user, item, type and value of what an event did, item by item.

    Returns:
        One row for an interaction, one per shown item for an impression.
    """
    if isinstance(event, ImpressionEvent):
        return [(event.user_id, item, IMPRESSION, float("nan")) for item in event.item_ids]
    if isinstance(event, InteractionEvent):
        value = float("nan") if event.value is None else event.value
        return [(event.user_id, event.item_id, event.type, value)]
    return []
