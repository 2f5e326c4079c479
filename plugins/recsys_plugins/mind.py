"""Importer: MIND, the news data set of Microsoft (`behaviors.tsv`, `news.tsv`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from recsys.errors import EventError
from recsys.events.formats import EventImporter
from recsys.events.readers import LineRecords, Said, first_line
from recsys.events.sources import RecordReader, TextFile
from recsys.hookspecs import hookimpl
from recsys.schema import (
    MICROSECONDS,
    AttributeValue,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
)

_DAY_US: Final = 86_400 * MICROSECONDS
#: Histories have no times. MIND took them from the weeks before the impressions of a file; they are
#: spread evenly over three weeks that end one week before its first impression, so that those of
#: a later file (dev beside train) lie before the impressions of an earlier one too.
_HISTORY_US: Final = 21 * _DAY_US
_GAP_US: Final = 7 * _DAY_US
_BEHAVIORS: Final = re.compile(r"[^\t]+\t[^\t]+\t\d+/\d+/\d{4} \d+:\d+:\d+ [AP]M\t[^\t]*\t\S")
_NEWS: Final = re.compile(r"N\d+(\t[^\t]*){7}$")
_TIME: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d\d):(\d\d) ([AP])M")


class _Entity(msgspec.Struct):
    Label: str = ""


_decode_entities = msgspec.json.Decoder(list[_Entity]).decode


class MindImporter:
    """Impressions and clicks of `behaviors.tsv`, items of `news.tsv`, recognised line by line."""

    name = "mind"
    description = "behaviors.tsv and news.tsv of MIND"

    def recognises(self, path: Path) -> bool:
        """Look at the first line."""
        line = first_line(path)
        return bool(_BEHAVIORS.match(line) or _NEWS.match(line))

    def reader(self, path: Path) -> RecordReader:
        """Read one of the two files."""
        if _NEWS.match(first_line(path)):
            behaviors = path.with_name(path.name.replace("news", "behaviors"))
            return LineRecords(path, _News(_first_instant(behaviors) - _GAP_US - _HISTORY_US))
        return LineRecords(path, _Behaviors(_first_instant(path)))


class _Behaviors:
    """Reads lines: impression id, user id, time, history, impressions.

    Args:
        start: The file's first impression, in microseconds.
    """

    def __init__(self, start: int) -> None:
        self._history_end = start - _GAP_US
        self._users: set[str] = set()

    def __call__(self, line: str) -> Said:
        cells = line.split("\t")
        if len(cells) != 5:
            raise EventError(reason=f"has {len(cells)} columns; expected 5")
        number, user_id, time, history, shown = cells
        instant = _instant(time)
        pairs = [_shown(text) for text in shown.split()]
        yield from self._history(user_id, history.split())
        # The files of a release count their impressions from 1 each.
        impression_id = f"{user_id}-{instant // MICROSECONDS}-{number}"
        items = [item for item, _ in pairs]
        yield ImpressionEvent(impression_id, instant, user_id, items, impression_id)
        for item in (item for item, clicked in pairs if clicked):
            event_id = f"{impression_id}-{item}"
            yield InteractionEvent(event_id, instant, user_id, item, "click", impression_id)

    def _history(self, user_id: str, items: list[str]) -> Iterator[InteractionEvent]:
        """Make clicks of a history, oldest first; a user's history is the same on every line.

        Yields:
            Clicks, at a user's first line.
        """
        if not items or user_id in self._users:
            return
        self._users.add(user_id)
        for position, item in enumerate(items):
            ahead = _HISTORY_US * (len(items) - position) // (len(items) + 1)
            event_id = f"{user_id}-history-{position}-{item}"
            instant = self._history_end - ahead
            yield InteractionEvent(event_id, instant, user_id, item, "click")


class _News:
    """Reads lines: id, category, subcategory, title, abstract, url, entities of both texts.

    Args:
        known_at: When all news became known, in microseconds; the file has no times.
    """

    def __init__(self, known_at: int) -> None:
        self._known_at = known_at

    def __call__(self, line: str) -> Said:
        cells = line.split("\t")
        if len(cells) != 8:
            raise EventError(reason=f"has {len(cells)} columns; expected 8")
        item_id, category, subcategory, title, abstract, _, *entities = cells
        texts = {
            "title": title,
            "category": category,
            "subcategory": subcategory,
            "abstract": abstract,
        }
        attributes: dict[str, AttributeValue] = {n: text for n, text in texts.items() if text}
        labels = list(dict.fromkeys(label for text in entities for label in _labels(text)))
        if labels:
            attributes["entities"] = labels
        yield ItemEvent(f"news-{item_id}", self._known_at, item_id, attributes)


def _labels(text: str) -> list[str]:
    try:
        return [entity.Label for entity in _decode_entities(text or "[]") if entity.Label]
    except msgspec.DecodeError as error:
        raise EventError(field="entities", reason="is no JSON list of objects") from error


def _shown(text: str) -> tuple[str, bool]:
    """Read `N1-0`, `N1-1`, or `N1` as in the test file, whose clicks are not public.

    Raises:
        EventError: The label is another.
    """
    item, dash, label = text.rpartition("-")
    if not dash:
        return text, False
    if label not in {"0", "1"}:
        raise EventError(field="impressions", reason="is not labelled; expected ID-0 or ID-1")
    return item, label == "1"


def _instant(text: str) -> int:
    """Read `11/15/2019 8:55:22 AM`, taken for UTC; strptime would take four times as long.

    Raises:
        EventError: It is no such time.
    """
    found = _TIME.fullmatch(text)
    if not found:
        raise EventError(field="time", reason="is not of the form 11/15/2019 8:55:22 AM")
    month, day, year, hour, minute, second = map(int, found.groups()[:6])
    hour = hour % 12 + (12 if found[7] == "P" else 0)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise EventError(field="time", reason="is no time of the calendar") from error
    return int(moment.timestamp()) * MICROSECONDS


def _first_instant(path: Path) -> int:
    """Find the earliest impression of a file; where there is none, the beginning of MIND."""
    earliest: int | None = None
    for _, line in TextFile(path).lines() if path.is_file() else ():
        cells = line.split(b"\t", 3)
        try:
            instant = _instant(cells[2].decode()) if len(cells) > 2 else None
        except (EventError, UnicodeDecodeError):
            continue  # refused with its reason when the line is read
        if instant is not None and (earliest is None or instant < earliest):
            earliest = instant
    return earliest if earliest is not None else _instant("11/9/2019 12:00:00 AM")


@hookimpl
def recsys_event_importers() -> list[EventImporter]:
    """Offer the importer."""
    return [MindImporter()]
