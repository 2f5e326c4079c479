"""Importer: EB-NeRD, the news data set of Ekstra Bladet (behaviors, history, articles; Parquet)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.formats import EventImporter
from recsys.events.readers import RowRecords, Said, parquet_columns
from recsys.events.sources import RecordReader
from recsys.hookspecs import hookimpl
from recsys.schema import (
    MICROSECONDS,
    Attributes,
    AttributeValue,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
)

_BEHAVIORS: Final = (
    *("impression_id", "impression_time", "user_id", "session_id", "device_type"),
    *("article_id", "article_ids_inview", "article_ids_clicked"),
    *("next_read_time", "is_subscriber", "is_sso_user", "gender", "age", "postcode"),
)
_HISTORY: Final = ("user_id", "impression_time_fixed", "article_id_fixed", "read_time_fixed")
#: Totals of views and reads are left alone: they were counted after the impressions.
_TEXTS: Final = ("title", "subtitle", "body", "category_str", "article_type", "sentiment_label")
_LISTS: Final = ("topics", "ner_clusters", "entity_groups")
_ARTICLES: Final = ("article_id", "published_time", "premium", *_TEXTS, *_LISTS)
_USER: Final = ("is_subscriber", "is_sso_user", "gender", "age", "postcode")
_REQUIRED: Final = {
    "behaviors": frozenset({"impression_id", "article_ids_inview", "article_ids_clicked"}),
    "history": frozenset(_HISTORY[:3]),
    "articles": frozenset({"article_id", "published_time", "title"}),
}


class EbnerdImporter:
    """Impressions and clicks, clicks of histories, and articles, recognised by their columns."""

    name = "ebnerd"
    description = "behaviors.parquet, history.parquet and articles.parquet of EB-NeRD"

    def recognises(self, path: Path) -> bool:
        """Look at the columns."""
        return bool(_kind(path))

    def reader(self, path: Path) -> RecordReader:
        """Read one of the three files."""
        kind = _kind(path)
        if kind == "articles":
            return RowRecords(path, _ARTICLES, _article)
        if kind == "history":
            return RowRecords(path, _HISTORY, _history)
        return RowRecords(path, _BEHAVIORS, _Behaviors())


def _kind(path: Path) -> str:
    columns = parquet_columns(path)
    return next((kind for kind, needed in _REQUIRED.items() if needed <= columns), "")


class _Behaviors:
    """Reads impressions; what is said of a user becomes a version when it is new."""

    def __init__(self) -> None:
        self._users: dict[str, Attributes] = {}

    def __call__(self, row: dict[str, Any]) -> Said:
        instant = _instant("impression_time", row.get("impression_time"))
        user_id = _id("user_id", row.get("user_id"))
        impression_id = _id("impression_id", row["impression_id"])
        yield from self._user(user_id, instant, row)
        shown = [str(item) for item in row["article_ids_inview"] or ()]
        yield ImpressionEvent(
            event_id=impression_id,
            occurred_at=instant,
            user_id=user_id,
            item_ids=shown,
            impression_id=impression_id,
            session_id=_text(row.get("session_id")),
            context=_context(row),
        )
        clicked = row["article_ids_clicked"] or ()
        for item in dict.fromkeys(str(item) for item in clicked):
            yield InteractionEvent(
                event_id=_click_id(user_id, instant, item),
                occurred_at=instant,
                user_id=user_id,
                item_id=item,
                type="click",
                impression_id=impression_id,
                session_id=_text(row.get("session_id")),
                value=row.get("next_read_time"),
            )

    def _user(self, user_id: str, instant: int, row: dict[str, Any]) -> Iterator[UserEvent]:
        said: Attributes = {n: _plain(row[n]) for n in _USER if row.get(n) is not None}
        if said and self._users.get(user_id) != said:
            self._users[user_id] = said
            yield UserEvent(f"{user_id}-{instant}", instant, user_id, said)


def _context(row: dict[str, Any]) -> Attributes:
    # A list under an article is another list than that of the front page, which has no article.
    page = "front" if row.get("article_id") is None else "article"
    device = row.get("device_type")
    return {"page": page} if device is None else {"page": page, "device_type": str(device)}


def _history(row: dict[str, Any]) -> Said:
    user_id = _id("user_id", row.get("user_id"))
    items = row["article_id_fixed"] or ()
    times = row["impression_time_fixed"] or ()
    seconds = row.get("read_time_fixed") or [None] * len(items)
    if not len(items) == len(times) == len(seconds):
        raise EventError(reason="has lists of different lengths")
    for item, time, value in zip(items, times, seconds, strict=True):
        instant = _instant("impression_time_fixed", time)
        event_id = _click_id(user_id, instant, str(item))
        yield InteractionEvent(event_id, instant, user_id, str(item), "click", value=value)


def _click_id(user_id: str, instant: int, item_id: str) -> str:
    """Name a click by what it is: a later history has the clicks of earlier behaviors again."""
    return f"{user_id}-{instant}-{item_id}"


def _article(row: dict[str, Any]) -> Said:
    item_id = _id("article_id", row["article_id"])
    instant = _instant("published_time", row["published_time"])
    attributes: Attributes = {name: str(row[name]) for name in _TEXTS if row.get(name)}
    for name in _LISTS:
        values = list(dict.fromkeys(str(v) for v in row.get(name) or () if v is not None))
        if values:
            attributes[name] = values
    if row.get("premium") is not None:
        attributes["premium"] = bool(row["premium"])
    yield ItemEvent(f"article-{item_id}", instant, item_id, attributes)


def _plain(value: object) -> AttributeValue:
    return value if isinstance(value, bool) else str(value)


def _id(field: str, value: object) -> str:
    if value is None:
        raise EventError(field=field, reason="is missing")
    return str(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _instant(field: str, value: object) -> int:
    """Read a timestamp, taken for UTC where it has no zone.

    Raises:
        EventError: It is none.
    """
    if not isinstance(value, datetime):
        raise EventError(field=field, reason="is no timestamp")
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * MICROSECONDS)


@hookimpl
def recsys_event_importers() -> list[EventImporter]:
    """Offer the importer."""
    return [EbnerdImporter()]
