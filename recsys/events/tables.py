"""Tables of somebody else's: CSV (with commas, semicolons, tabs or bars) and Parquet.

What columns mean is told by their names (`columns`), what cells mean by the first rows (`cells`).
A row becomes one event; of interactions also a version of the item where columns say something of
it. An event has an id of its own content, so that a second import of a table changes nothing.
"""

from __future__ import annotations

import csv
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import zstandard

from recsys.errors import EventError
from recsys.events.cells import Column, column_of, instant_of, is_nothing
from recsys.events.columns import TableColumns, TableOptions, columns_of
from recsys.events.exposures import Exposure, lists_of
from recsys.events.ids import content_id
from recsys.events.readers import CsvRecords, RowRecords, Said, csv_rows, first_line
from recsys.events.sources import LeftOut, Record, RecordReader, TextFile, packing_of
from recsys.events.undated import Undated
from recsys.schema import Attributes, ImpressionEvent, InteractionEvent, ItemEvent, UserEvent

_SAMPLE: Final = 1_000
#: One column is no table: a line of anything is one.
_FEWEST_COLUMNS: Final = 2
_DELIMITERS: Final = (",", ";", "\t", "|")
#: How a program with nothing but floats writes a whole number, and the largest that it can.
_WHOLE: Final = re.compile(r"\d+\.0")
_LARGEST_WHOLE: Final = 2**53
_IDS: Final = ("user_id", "item_id", "session_id", "impression_id")
#: What ends the reading of a damaged file; it is reported when its rows are imported.
_DAMAGE: Final = (EventError, OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class Table:
    """A file that holds a table of events.

    Args:
        path: The file.
        columns: What its columns mean.
        delimiter: Between cells; empty: Parquet.
        header: Names of the columns where the file has no header; empty: it has one.
        time_format: As of `TableOptions`.
    """

    path: Path
    columns: TableColumns
    delimiter: str
    header: tuple[str, ...] = ()
    time_format: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that are imported."""
        return (*self.columns.fields.values(), *self.columns.others)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows.

        Yields:
            Cells by column.
        """
        if self.delimiter:
            yield from csv_rows(TextFile(self.path), self.delimiter, self.header)
            return
        for record in RowRecords(self.path, self.names, lambda _: iter([LeftOut("")])).records():
            yield cast(dict[str, Any], record.raw)

    def first_instant(self) -> int | None:
        """Find when the first of its rows happened.

        Returns:
            Microseconds since the Unix epoch; None where no row says.
        """
        column, now, first = self.columns.fields["occurred_at"], time.time_ns() // 1000, None
        try:
            for row in self.rows():
                instant = _instant_or_none(row.get(column), self.time_format)
                if instant is not None and 0 < instant <= now:
                    first = instant if first is None else min(first, instant)
        except _DAMAGE:
            pass  # it is reported where the rows are imported
        return first


def table_of(path: Path, options: TableOptions) -> Table | None:
    """Recognise a table by the names of its columns.

    Args:
        path: The file.
        options: What the caller says.

    Returns:
        The table; None where the file is none, or its columns say nothing of users and items.

    Raises:
        LogError: Its columns lack something.
    """
    if packing_of(path) == "parquet":
        columns = _of_parquet(path, options)
        return None if columns is None else Table(path, columns, "", (), options.time_format)
    delimiter, names = _cut(first_line(path), len(options.header))
    names = list(options.header) or names
    if len(names) < _FEWEST_COLUMNS:
        return None
    found = columns_of(path, names, options)
    header = tuple(options.header)
    return None if found is None else Table(path, found, delimiter, header, options.time_format)


def _of_parquet(path: Path, options: TableOptions) -> TableColumns | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return None
    unreadable = [field.name for field in schema if not _is_attribute(field.type)]
    return columns_of(path, schema.names, options, unreadable)


def _is_attribute(kind: Any) -> bool:  # noqa: ANN401 - pyarrow's types have no types
    """Say whether attributes can have values of a Parquet type.

    Returns:
        False for structures, maps, times of day, and lists of them.
    """
    import pyarrow as pa

    types = pa.types
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_boolean(kind):
        return True
    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    number = (types.is_integer, types.is_floating, types.is_decimal)
    text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_such(kind) for is_such in (*number, *text))


class TableRecords:
    """Reads a table; nothing of it is looked at before.

    Args:
        table: The table.
        undated: Says when versions are known of which no instant is said.
    """

    def __init__(self, table: Table, undated: Undated) -> None:
        self._table = table
        self._undated = undated
        self._reader: RecordReader | None = None

    def bytes_done(self) -> int:
        """Count the bytes read so far.

        Returns:
            Zero before the first row.
        """
        return self._reader.bytes_done() if self._reader else 0

    def records(self) -> Iterator[Record]:
        """Read the rows.

        Yields:
            A record per event.
        """
        table = self._table
        if not table.delimiter:
            kinds = {name: column_of(name, ()) for name in table.names}
            decode = _Rows(table, kinds, frozenset(), self._undated)
            self._reader = RowRecords(table.path, table.names, decode)
        else:
            sample = list(islice(table.rows(), _SAMPLE))
            cells = {name: [row.get(name) for row in sample] for name in table.names}
            kinds = {name: column_of(name, found) for name, found in cells.items()}
            fields = table.columns.fields
            floats = [fields[name] for name in _IDS if _are_floats(cells.get(fields.get(name, "")))]
            decode = _Rows(table, kinds, frozenset(floats), self._undated)
            self._reader = CsvRecords(
                table.path, decode, delimiter=table.delimiter, header=table.header
            )
        records = self._reader.records()
        is_shown = table.columns.kind == "exposures"
        yield from lists_of(records, decode.exposure_or_error) if is_shown else records


class _Rows:
    """Says what the rows of a table say.

    Args:
        table: The table.
        kinds: How cells are read, by column.
        floats: Columns of ids that are written like `17.0`.
        undated: As of `TableRecords`.
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
        #: Of each item what was said last, and the earliest instant at which anything was.
        self._said: dict[str, tuple[Attributes, int]] = {}

    def __call__(self, row: dict[str, Any]) -> Said:
        if self._columns.kind == "interactions":
            return self._interaction(row)
        if self._columns.kind == "exposures":
            return iter([LeftOut("")])  # rows are put together to lists
        return iter([self._version(row)])

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
        visit = self._text(row, "session_id")
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
            key=self._text(row, "impression_id") or content_id(user_id, visit, instant),
            shown=shown,
            position=self._value(row, "position"),
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
            found = float({"true": 1, "false": 0}.get(text, text))
        except ValueError as error:
            reason = "does not say whether it was done; expected 0 or 1, true or false, or a number"
            raise EventError(field=column, reason=reason) from error
        # A flag has no value of its own, seconds and stars have.
        return (kind, None if found == 1 else found) if found > 0 else None

    def _version(self, row: dict[str, Any]) -> ItemEvent | UserEvent | LeftOut:
        kind = self._columns.kind
        who = self._text(row, "item_id" if kind == "items" else "user_id")
        attributes = self._attributes(row, self._columns.others)
        event_id = self._text(row, "event_id")
        if self._columns.is_dated:
            instant: int | None = self._instant(row)
            event_id = event_id or content_id(who, instant, *sorted(attributes.items()))
        else:
            instant = self._undated.instant(kind, who, attributes)
            event_id = event_id or self._undated.event_id(who, instant, attributes)
        if instant is None:
            return LeftOut("says of an item or user what the log knows already")
        made = ItemEvent if kind == "items" else UserEvent
        return made(event_id, instant, who, attributes)

    def _interaction(self, row: dict[str, Any]) -> Said:
        columns, instant = self._columns, self._instant(row)
        user_id, item_id = self._text(row, "user_id"), self._text(row, "item_id")
        kind, value = self._text(row, "type") or columns.type, self._value(row)
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
        said = self._attributes(row, self._columns.of_item)
        before, earliest = self._said.get(item_id, ({}, instant))
        # A file may begin with the newest: what is said earlier is known earlier.
        if said and item_id and (said != before or instant < earliest):
            self._said[item_id] = said, min(instant, earliest)
            yield ItemEvent(
                content_id(item_id, instant, *sorted(said.items())), instant, item_id, said
            )

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

    def _value(self, row: Mapping[str, Any], name: str = "value") -> float | None:
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


def _cut(line: str, n_cells: int) -> tuple[str, list[str]]:
    """Cut a first line by the delimiter that gives the wanted number of cells, or else the most.

    Returns:
        Delimiter and cells; one cell where the line is no line of a table.
    """
    found: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # line ends within, or more than a cell may hold
            return ",", [line]
        found[delimiter] = [cell.strip() for cell in cells]
    best = max(found, key=lambda one: (len(found[one]) == n_cells, len(found[one])))
    return best, found[best]


def _are_floats(cells: Sequence[object] | None) -> bool:
    texts = [str(cell).strip() for cell in cells or () if not is_nothing(cell)]
    return bool(texts) and all(_WHOLE.fullmatch(text) for text in texts)


def _instant_or_none(cell: object, time_format: str) -> int | None:
    try:
        return None if is_nothing(cell) else instant_of(cell, time_format)
    except EventError:
        return None  # reported where the row is read
