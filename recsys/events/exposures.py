"""Tables with a row for each item that was shown: rows of one list stand together.

    list  user  item  position  clicked
    p1    u     a     1         0
    p1    u     b     2         1          one list of two items, and a click on the second

A list is an impression, and what was done with its items are interactions of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.ids import content_id
from recsys.events.sources import Record
from recsys.schema import Attributes, Event, ImpressionEvent, InteractionEvent

#: Lists whose ids are remembered, to notice one that goes on later.
_REMEMBERED: Final = 5_000_000
_ENDED: Final = "is of a list that ended before; rows of one list have to stand together"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One item that was shown.

    Args:
        key: Of the list; rows with one key that follow each other are one list.
        shown: The list, with this item alone.
        position: Of the item; None: as the rows stand.
        done: What was done with it: type, and its value where it has one.
        events: What else the row says.
    """

    key: str
    shown: ImpressionEvent
    position: float | None
    done: tuple[tuple[str, float | None], ...]
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class _List:
    key: str
    first: Record
    rows: list[Exposure] = field(default_factory=list)


def lists_of(
    records: Iterable[Record],
    exposure_of: Callable[[Mapping[str, Any]], Exposure | EventError],
    ended: set[int],
) -> Iterator[Record]:
    """Put rows together to lists.

    Args:
        records: Of the rows; only what they say as they stand is looked at.
        exposure_of: Says what a row says, or why it says nothing.
        ended: Lists of this import that are over; written. Two lists with one id would be one.

    Yields:
        A record per event: lists, what was done with their items, and what else rows say; and a
        record with the error of each bad row.
    """
    current: _List | None = None
    for record in records:
        if isinstance(record.event, EventError) or isinstance(record.raw, bytes):
            yield record
            continue
        found = exposure_of(record.raw)
        if isinstance(found, Exposure) and hash(found.key) in ended:
            found = EventError(field="impression_id", reason=_ENDED)
        if isinstance(found, EventError):
            yield record._replace(event=found)
            continue
        if current is not None and current.key != found.key:
            yield from _ended(current, ended)
            current = None
        current = current or _List(found.key, record)
        current.rows.append(found)
    if current is not None:
        yield from _ended(current, ended)


def _ended(found: _List, ended: set[int]) -> Iterator[Record]:
    if len(ended) < _REMEMBERED:
        ended.add(hash(found.key))
    yield from _events(found)


def _events(found: _List) -> Iterator[Record]:
    rows = found.rows
    if all(row.position is not None for row in rows):
        rows = sorted(rows, key=lambda row: row.position or 0.0)
    first = min((row.shown for row in rows), key=lambda shown: shown.occurred_at)
    items = dict.fromkeys(item for row in rows for item in row.shown.item_ids)
    context: Attributes = {}
    for row in reversed(rows):
        context |= row.shown.context
    shown = ImpressionEvent(
        event_id=found.key,
        occurred_at=first.occurred_at,
        user_id=first.user_id,
        item_ids=list(items),
        impression_id=found.key,
        session_id=first.session_id,
        context=context,
    )
    events: list[Event] = [event for row in rows for event in row.events]
    for event in (*events, shown, *_done(found.key, rows)):
        yield found.first._replace(event=event)


def _done(key: str, rows: list[Exposure]) -> Iterator[InteractionEvent]:
    for row in rows:
        [item_id] = row.shown.item_ids
        for kind, value in row.done:
            yield InteractionEvent(
                event_id=content_id(key, item_id, kind),
                occurred_at=row.shown.occurred_at,
                user_id=row.shown.user_id,
                item_id=item_id,
                type=kind,
                impression_id=key,
                session_id=row.shown.session_id,
                value=value,
            )
