"""What the rows of a table say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.cells import Column, instant_of, is_nothing
from recsys.events.exposures import Exposure
from recsys.events.ids import content_id
from recsys.events.readers import Said
from recsys.events.sources import LeftOut
from recsys.events.tables import Table
from recsys.events.undated import Undated
from recsys.schema import Attributes, ImpressionEvent, InteractionEvent, ItemEvent, UserEvent

#: The largest whole number that a float is sure to hold.
_LARGEST_WHOLE: Final = 2**53
_FLAGS: Final = {"true": 1, "false": 0}


class Rows:
    """Says what the rows of a table say, one after another.

    Args:
        table: The table.
        kinds: How cells are read, by column.
        floats: Columns of ids that are written like `17.0`.
        undated: Says when versions are known of which no instant is said.
    """

    def __init__(
        self,
        table: Table,
        kinds: Mapping[str, Column],
        floats: frozenset[str],
        undated: Undated,
    ) -> None:
        self._columns = table.columns
        self._fields = table.columns.fields
        self._time_format = table.time_format
        self._kinds = kinds
        self._floats = floats
        self._undated = undated
        self._still: Counter[str] = Counter()
        #: What was said of each item last, and since when.
        self._said: dict[str, tuple[Attributes, int]] = {}

    def __call__(self, row: dict[str, Any]) -> Said:
        """Say what a row says of itself; rows of exposures are put together to lists.

        Returns:
            Its events.
        """
        if self._columns.kind == "interactions":
            return self._interaction(row)
        if self._columns.kind == "exposures":
            return iter([LeftOut("")])
        return iter([self._version(row)])

    def count(self, row: Mapping[str, Any]) -> None:
        """Hear of a row without an instant before it is read: the last one of an id counts."""
        who = self._who(row)
        self._attributes(row, self._columns.others)  # a bad row says nothing
        self._still[who] += 1

    def rest(self) -> Iterator[ItemEvent]:
        """Say what is left to say of items when all rows were read.

        Yields:
            The last version of each.
        """
        for item_id, (said, instant) in self._said.items():
            yield _version_of(item_id, said, instant)

    def exposure_or_error(self, row: Mapping[str, Any]) -> Exposure | EventError:
        """Say what a row says of an item that was shown.

        Args:
            row: Cells by column.

        Returns:
            The exposure, or which cell is not as it should be.
        """
        try:
            return self._exposure(row)
        except EventError as error:
            return error

    def _exposure(self, row: Mapping[str, Any]) -> Exposure:
        columns, instant = self._columns, self._instant(row)
        user_id, item_id = self._text(row, "user_id"), self._text(row, "item_id")
        visit, list_id = self._text(row, "session_id"), self._text(row, "impression_id")
        if not item_id:
            raise EventError(field="item_id", reason="is empty; expected an id")
        if not (list_id or user_id or visit):
            reason = "is empty, and neither a list nor a visit is named; expected one of them"
            raise EventError(field="user_id", reason=reason)
        done = (self._done(row, kind, column) for kind, column in columns.done.items())
        shown = ImpressionEvent(
            event_id="",
            occurred_at=instant,
            user_id=user_id,
            item_ids=[item_id],
            session_id=visit,
            context=self._attributes(row, columns.attributes),
        )
        return Exposure(
            key=list_id or content_id(user_id, visit, instant),
            shown=shown,
            position=self._number(row, "position"),
            done=tuple(found for found in done if found is not None),
            events=tuple(self._of_item(row, item_id, instant)),
        )

    def _done(
        self, row: Mapping[str, Any], kind: str, column: str
    ) -> tuple[str, float | None] | None:
        if is_nothing(row.get(column)):
            return None
        text = str(row[column]).strip().lower()
        try:
            found = float(_FLAGS.get(text, text))
        except ValueError as error:
            reason = "does not say whether it was done; expected 0 or 1, true or false, or a number"
            raise EventError(field=column, reason=reason) from error
        # A flag has no value of its own, seconds and stars have.
        return (kind, None if found == 1 else found) if found > 0 else None

    def _version(self, row: dict[str, Any]) -> ItemEvent | UserEvent | LeftOut:
        kind, who = self._columns.kind, self._who(row)
        attributes = self._attributes(row, self._columns.others)
        made = ItemEvent if kind == "items" else UserEvent
        if self._columns.is_dated:
            instant = self._instant(row)
            content = content_id(who, instant, *sorted(attributes.items()))
            return made(self._text(row, "event_id") or content, instant, who, attributes)
        self._still[who] -= 1
        if self._still[who] > 0:
            return LeftOut("says of an item or user what a later row says anew")
        known_from = self._undated.instant(kind, who, attributes)
        if known_from is None:
            return LeftOut("says of an item or user what the log knows already")
        return made(
            self._undated.event_id(who, known_from, attributes), known_from, who, attributes
        )

    def _interaction(self, row: dict[str, Any]) -> Said:
        columns, instant = self._columns, self._instant(row)
        user_id, item_id = self._text(row, "user_id"), self._text(row, "item_id")
        kind, value = self._text(row, "type") or columns.type, self._number(row, "value")
        visit = self._text(row, "session_id"), self._text(row, "impression_id")
        yield from self._of_item(row, item_id, instant)
        content = content_id(user_id, item_id, kind, instant, value, *visit)
        yield InteractionEvent(
            event_id=self._text(row, "event_id") or content,
            occurred_at=instant,
            user_id=user_id,
            item_id=item_id,
            type=kind,
            impression_id=visit[1],
            session_id=visit[0],
            value=value,
            attributes=self._attributes(row, columns.attributes),
        )

    def _of_item(self, row: Mapping[str, Any], item_id: str, instant: int) -> Iterator[ItemEvent]:
        """Take in what a row says of its item.

        A version is said when the next one begins, or at the end: a file may begin with the newest,
        and then a version is known from the last of its rows on.

        Yields:
            The version that is over, if one is.
        """
        said = self._attributes(row, self._columns.of_item)
        if not said or not item_id:
            return
        before = self._said.get(item_id)
        if before is None or before[0] != said:
            if before is not None:
                yield _version_of(item_id, *before)
            self._said[item_id] = said, instant
        elif instant < before[1]:
            self._said[item_id] = said, instant

    def _who(self, row: Mapping[str, Any]) -> str:
        return self._text(row, "item_id" if self._columns.kind == "items" else "user_id")

    def _text(self, row: Mapping[str, Any], name: str) -> str:
        column = self._fields.get(name)
        cell = row.get(column) if column else None
        if column is None or is_nothing(cell):
            return ""
        if isinstance(cell, float):
            if not cell.is_integer() or abs(cell) > _LARGEST_WHOLE:
                raise EventError(field=name, reason="is a number that is no id")
            return str(int(cell))
        text = str(cell).strip()
        return text.removesuffix(".0") if column in self._floats else text

    def _instant(self, row: Mapping[str, Any]) -> int:
        cell = row.get(self._fields["occurred_at"])
        if is_nothing(cell):
            raise EventError(field="occurred_at", reason="is empty")
        return instant_of(cell, self._time_format)

    def _number(self, row: Mapping[str, Any], name: str) -> float | None:
        column = self._fields.get(name)
        if column is None or is_nothing(row.get(column)):
            return None
        found = self._kinds[column].value(name, row[column])
        try:
            return float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise EventError(field=name, reason="is no number") from error

    def _attributes(self, row: Mapping[str, Any], names: Sequence[str]) -> Attributes:
        return {
            name: self._kinds[name].value(name, cell)
            for name in names
            if not is_nothing(cell := row.get(name))
        }


def _version_of(item_id: str, said: Attributes, instant: int) -> ItemEvent:
    return ItemEvent(content_id(item_id, instant, *sorted(said.items())), instant, item_id, said)
