"""Tables of somebody else's: CSV (with commas, semicolons, tabs or bars) and Parquet.

What columns mean is told by their names (`columns`), what cells mean by the first rows (`cells`).
A row becomes one event; of interactions also a version of the item where columns say something of
it. An event has an id of its own content, so that a second import of a table changes nothing.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

from recsys.errors import EventError, LogError
from recsys.events.cells import Column, column_of, instant_of, is_nothing
from recsys.events.columns import TableColumns, TableOptions, columns_of
from recsys.events.readers import (
    CsvRecords,
    RowRecords,
    Said,
    csv_rows,
    first_line,
    parquet_columns,
)
from recsys.events.sources import LeftOut, RecordReader, TextFile, packing_of
from recsys.schema import Attributes, InteractionEvent, ItemEvent, UserEvent

_SAMPLE: Final = 1_000
#: One column is no table: a line of anything is one.
_FEWEST_COLUMNS: Final = 2
_DELIMITERS: Final = (",", ";", "\t", "|")
#: How a program with nothing but floats writes a whole number.
_WHOLE: Final = re.compile(r"\d+\.0")
_IDS: Final = ("user_id", "item_id", "session_id", "impression_id")


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

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows of a CSV file.

        Yields:
            Cells by column.
        """
        yield from csv_rows(TextFile(self.path), self.delimiter, self.header)

    def first_instant(self) -> int | None:
        """Find when the first of its rows happened.

        Returns:
            Microseconds since the Unix epoch; None where no row says.
        """
        column = self.columns.fields["occurred_at"]
        instants = (_instant_or_none(cell, self.time_format) for cell in self._cells(column))
        return min((instant for instant in instants if instant is not None), default=None)

    def _cells(self, column: str) -> Iterator[object]:
        if self.delimiter:
            return (row.get(column) for row in self.rows())
        rows = RowRecords(self.path, [column], lambda _: iter([LeftOut("")]))
        return (cast(dict[str, Any], record.raw)[column] for record in rows.records())


def table_of(path: Path, options: TableOptions) -> Table | None:
    """Recognise a table by the names of its columns.

    Returns:
        The table; None where the file is none, or its columns say nothing of users and items.

    Raises:
        LogError: Its columns lack something, or a column that the caller names.
    """
    if packing_of(path) == "parquet":
        delimiter, names = "", sorted(parquet_columns(path))
    else:
        delimiter, names = _cut(first_line(path))
        names = list(options.header) or names
        if len(names) < _FEWEST_COLUMNS:
            return None
    columns = columns_of(path, names, options)
    if columns is None:
        return None
    header = tuple(options.header) if delimiter else ()
    return Table(path, columns, delimiter, header, options.time_format)


def check_said(tables: Sequence[Table], options: TableOptions, sources: Sequence[Path]) -> None:
    """Refuse what is said of columns that no table has: it would be passed over in silence.

    Args:
        tables: Those of one import.
        options: What the caller says.
        sources: Of the import, for messages.

    Raises:
        LogError: There is such a column.
    """
    known = {name for table in tables for name in _names(table)}
    said = [(f"--column {name}={column}", column) for name, column in options.columns.items()]
    said += [(f"--item-field {column}", column) for column in options.item_fields]
    for option, column in said:
        if column not in known:
            columns = ", ".join(sorted(known)) or "none, as no file is a table"
            raise LogError(sources[0], option, f"one of the columns that there are: {columns}")


def reader_of(table: Table, start: Callable[[], int]) -> RecordReader:
    """Make the reader of a table.

    Args:
        table: The table.
        start: Gives the instant from which items and users without one are known.

    Returns:
        The reader.
    """
    if not table.delimiter:
        names = _names(table)
        kinds = dict.fromkeys(names, Column("text"))
        return RowRecords(table.path, names, _Rows(table, kinds, frozenset(), start))
    sample = list(islice(table.rows(), _SAMPLE))
    cells = {name: [row.get(name) for row in sample] for name in _names(table)}
    kinds = {name: column_of(name, found) for name, found in cells.items()}
    ids = [table.columns.fields[name] for name in _IDS if name in table.columns.fields]
    floats = frozenset(name for name in ids if _are_floats(cells.get(name, ())))
    decode = _Rows(table, kinds, floats, start)
    return CsvRecords(table.path, decode, delimiter=table.delimiter, header=table.header)


def start_of(tables: Sequence[Table]) -> Callable[[], int]:
    """Tell from when on items and users are known that no instant is said of.

    Args:
        tables: Those of one import.

    Returns:
        Gives the first instant of its interactions, found when first asked for; 0, from ever on,
        where there are none.
    """

    @cache
    def start() -> int:
        found = [t.first_instant() for t in tables if t.columns.kind == "interactions"]
        return min((instant for instant in found if instant is not None), default=0)

    return start


class _Rows:
    """Says what the rows of a table say.

    Args:
        table: The table.
        kinds: How cells are read, by column.
        floats: Columns of ids that are written like `17.0`.
        start: As of `reader_of`.
    """

    def __init__(
        self,
        table: Table,
        kinds: Mapping[str, Column],
        floats: frozenset[str],
        start: Callable[[], int],
    ) -> None:
        self._columns = table.columns
        self._fields = table.columns.fields
        self._time_format = table.time_format
        self._kinds = kinds
        self._floats = floats
        self._start = start
        self._said: dict[str, Attributes] = {}

    def __call__(self, row: dict[str, Any]) -> Said:
        if self._columns.kind == "interactions":
            yield from self._interaction(row)
            return
        attributes = self._attributes(row, self._columns.others)
        instant = self._instant(row) if "occurred_at" in self._fields else self._start()
        name = "item_id" if self._columns.kind == "items" else "user_id"
        who = self._text(row, name)
        when = instant if "occurred_at" in self._fields else ""
        event_id = self._text(row, "event_id") or _digest(who, when, *sorted(attributes.items()))
        made = ItemEvent if self._columns.kind == "items" else UserEvent
        yield made(event_id, instant, who, attributes)

    def _interaction(self, row: dict[str, Any]) -> Said:
        columns, instant = self._columns, self._instant(row)
        user_id, item_id = self._text(row, "user_id"), self._text(row, "item_id")
        kind = self._text(row, "type") or columns.type
        value, session_id = self._value(row), self._text(row, "session_id")
        of_item = self._attributes(row, columns.of_item)
        if of_item and self._said.get(item_id) != of_item:
            self._said[item_id] = of_item
            event_id = _digest(item_id, instant, *sorted(of_item.items()))
            yield ItemEvent(event_id, instant, item_id, of_item)
        others = [name for name in columns.others if name not in columns.of_item]
        yield InteractionEvent(
            event_id=self._text(row, "event_id")
            or _digest(user_id, item_id, kind, instant, value, session_id),
            occurred_at=instant,
            user_id=user_id,
            item_id=item_id,
            type=kind,
            impression_id=self._text(row, "impression_id"),
            session_id=session_id,
            value=value,
            attributes=self._attributes(row, others),
        )

    def _text(self, row: dict[str, Any], name: str) -> str:
        column = self._fields.get(name)
        cell = row.get(column) if column else None
        if column is None or is_nothing(cell):
            return ""
        text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
        text = text.strip()
        return text.removesuffix(".0") if column in self._floats else text

    def _instant(self, row: dict[str, Any]) -> int:
        cell = row.get(self._fields["occurred_at"])
        if is_nothing(cell):
            raise EventError(field="occurred_at", reason="is empty")
        return instant_of(cell, self._time_format)

    def _value(self, row: dict[str, Any]) -> float | None:
        column = self._fields.get("value")
        if column is None or is_nothing(row.get(column)):
            return None
        found = self._kinds[column].value("value", row[column])
        try:
            return float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise EventError(field="value", reason="is no number") from error

    def _attributes(self, row: dict[str, Any], names: Sequence[str]) -> Attributes:
        return {
            name: self._kinds[name].value(name, cell)
            for name in names
            if not is_nothing(cell := row.get(name))
        }


def _cut(line: str) -> tuple[str, list[str]]:
    """Cut a header by the delimiter that cuts it into the most cells.

    Returns:
        Delimiter and cells.
    """
    found = {
        one: [c.strip() for c in next(csv.reader([line], delimiter=one), [])] for one in _DELIMITERS
    }
    best = max(found, key=lambda one: len(found[one]))
    return best, found[best]


def _names(table: Table) -> tuple[str, ...]:
    return (*table.columns.fields.values(), *table.columns.others)


def _are_floats(cells: Sequence[object]) -> bool:
    texts = [str(cell).strip() for cell in cells if not is_nothing(cell)]
    return bool(texts) and all(_WHOLE.fullmatch(text) for text in texts)


def _instant_or_none(cell: object, time_format: str) -> int | None:
    try:
        return None if is_nothing(cell) else instant_of(cell, time_format)
    except EventError:
        return None  # reported where the row is read


def _digest(*parts: object) -> str:
    """Make the id of an event out of its content.

    Returns:
        24 characters.
    """
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
