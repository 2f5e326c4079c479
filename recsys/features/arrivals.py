"""Arriving events as rows of actions; ids, versions and contexts that are new get their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from recsys.features.actions import ACTION_COLUMNS, Actions, EncodedLog
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
_Act: TypeAlias = ImpressionEvent | InteractionEvent


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
        pending: list[_Act] = []
        instants: list[int] = []
        for visible in events:
            event = visible.event
            if isinstance(event, ItemEvent | UserEvent):
                if pending:
                    yield self._actions(pending, instants)
                pending, instants = [], []
                if isinstance(event, ItemEvent):
                    entities, entity_id = self._items, event.item_id
                else:
                    entities, entity_id = self._users, event.user_id
                entities.add_version(
                    entity_id, event.attributes, event.occurred_at, visible.visible_at
                )
            else:
                pending.append(event)
                instants.append(visible.visible_at)
        if pending:
            yield self._actions(pending, instants)

    def _actions(self, acts: Sequence[_Act], visible: Sequence[int]) -> Actions:
        """Lay events out.

        Returns:
            One row of an interaction, one per shown item of an impression.
        """
        shown = [
            act.item_ids if isinstance(act, ImpressionEvent) else (act.item_id,) for act in acts
        ]
        item_ids = [item for items in shown for item in items]
        columns = zip(*map(self._done, acts, visible), strict=True)
        user_ids, types, values, sessions, contexts, occurred = columns
        self._users.add_ids(user_ids)
        self._items.add_ids(item_ids)
        items, users = self._items.rows(item_ids), self._users.rows(user_ids)
        by_event = Actions(
            types=np.array(types, dtype=np.int16),
            users=users,
            items=items,
            versions=self._items.current_versions(items),
            user_versions=self._users.current_versions(users),
            visitors=self._visitors.add(sessions if any(sessions) else (), users),
            contexts=np.array(contexts, dtype=np.int32),
            visible=np.array(visible, dtype=np.int64),
            occurred=np.array(occurred, dtype=np.int64),
            values=np.array(values, dtype=np.float64),
        )
        counts = np.fromiter(map(len, shown), dtype=np.int64, count=len(shown))
        if (counts == 1).all():
            return by_event
        repeated = {
            name: np.repeat(getattr(by_event, name), counts)
            for name in ACTION_COLUMNS
            if name not in {"items", "versions"}
        }
        return replace(by_event, **repeated)

    def _done(self, event: _Act, at: int) -> tuple[str, int, float, str, int, int]:
        """Say who did what, and when.

        Returns:
            User, type, value, session, context and `occurred_at`.
        """
        if isinstance(event, ImpressionEvent):
            context = self._contexts.row(event.context)
            self._recent.add(event.impression_id or event.event_id, context, at)
            kind, value = self._types.index(IMPRESSION), _NO_VALUE
        else:
            context = self._recent.find(event.impression_id, at)
            kind = self._types.index(event.type)
            value = _NO_VALUE if event.value is None else event.value
        return event.user_id, kind, value, event.session_id, context, event.occurred_at
