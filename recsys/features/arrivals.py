"""Arriving events as rows of actions; ids, versions and contexts that are new get their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from recsys.features.actions import Actions, EncodedLog
from recsys.features.contexts import RecentImpressions
from recsys.schema import (
    IMPRESSION,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

_NO_VALUE = float("nan")


class Arrivals:
    """Encodes events one batch after another.

    Args:
        log: What was there before; its entities grow.
    """

    def __init__(self, log: EncodedLog) -> None:
        self._items = log.items
        self._users = log.users
        self._types = log.types
        self._visitors = log.visitors
        self._contexts = log.contexts
        self._recent = RecentImpressions()
        for impression_id, row, visible_at in log.recent:
            self._recent.add(impression_id, row, visible_at)

    @property
    def recent(self) -> RecentImpressions:
        """Impressions that interactions yet to come may name."""
        return self._recent

    def encode(self, events: Sequence[VisibleEvent]) -> Iterator[Actions]:
        """Take events in, in order of `visible_at`.

        Yields:
            Rows of impressions and interactions; an item or user event between them ends a batch,
            because it changes which version the events after it count for.
        """
        pending: list[VisibleEvent] = []
        for visible in events:
            event = visible.event
            if isinstance(event, ItemEvent | UserEvent):
                if pending:
                    yield self._actions(pending)
                pending = []
                if isinstance(event, ItemEvent):
                    entities, entity_id = self._items, event.item_id
                else:
                    entities, entity_id = self._users, event.user_id
                entities.add_version(
                    entity_id, event.attributes, event.occurred_at, visible.visible_at
                )
            else:
                pending.append(visible)
        if pending:
            yield self._actions(pending)

    def _actions(self, events: Sequence[VisibleEvent]) -> Actions:
        rows = [row for visible in events for row in self._rows(visible)]
        users, items, types, values, sessions, contexts, visible, occurred = zip(*rows, strict=True)
        self._users.add_ids(users)
        self._items.add_ids(items)
        item_rows, user_rows = self._items.rows(items), self._users.rows(users)
        return Actions(
            types=np.array(types, dtype=np.int16),
            users=user_rows,
            items=item_rows,
            versions=self._items.current_versions(item_rows),
            user_versions=self._users.current_versions(user_rows),
            visitors=self._visitors.add(sessions if any(sessions) else (), user_rows),
            contexts=np.array(contexts, dtype=np.int32),
            visible=np.array(visible, dtype=np.int64),
            occurred=np.array(occurred, dtype=np.int64),
            values=np.array(values, dtype=np.float64),
        )

    def _rows(self, visible: VisibleEvent) -> list[tuple[str, str, int, float, str, int, int, int]]:
        """List what an event did, item by item.

        Returns:
            User, item, type, value, session, context, `visible_at` and `occurred_at`: one row for
            an interaction, one per shown item for an impression.
        """
        event, at = visible.event, visible.visible_at
        if isinstance(event, ImpressionEvent):
            context = self._contexts.row(event.context)
            self._recent.add(event.impression_id or event.event_id, context, at)
            rest = (self._types.index(IMPRESSION), _NO_VALUE, event.session_id, context, at)
            return [(event.user_id, item, *rest, event.occurred_at) for item in event.item_ids]
        if isinstance(event, InteractionEvent):
            value = _NO_VALUE if event.value is None else event.value
            context = self._recent.find(event.impression_id, at)
            kind = self._types.index(event.type)
            return [(
                event.user_id, event.item_id, kind, value,
                event.session_id, context, at, event.occurred_at,
            )]  # fmt: skip
        return []
