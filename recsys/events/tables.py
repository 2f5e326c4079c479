"""Tables of somebody else's: CSV (with commas, semicolons, tabs or bars) and Parquet.

What columns mean is told by their names (`columns`), what cells mean by the first rows (`cells`).
A row becomes one event; of interactions also a version of the item where columns say something of
it. An event has an id of its own content, so that a second import of a table changes nothing.
"""

from __future__ import annotations

import csv
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from recsys.errors import EventError, LogError
from recsys.events.cells import instant_of, is_nothing
from recsys.events.columns import TableColumns, TableOptions, columns_of
from recsys.events.readers import csv_rows, first_line, parquet_rows
from recsys.events.sources import TextFile, packing_of

#: One column is no table: a line of anything is one.
_FEWEST_COLUMNS: Final = 2
_DELIMITERS: Final = (",", ";", "\t", "|")
#: What ends the reading of a damaged file; it is reported when its rows are imported.
DAMAGE: Final = (
    *(EventError, OSError, EOFError, ValueError, OverflowError),
    *(zlib.error, zstandard.ZstdError),
)


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
        else:
            yield from parquet_rows(self.path, self.names)

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
        except DAMAGE:
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
    line = first_line(path)
    delimiter, names = _cut(line)
    if len(names) >= _FEWEST_COLUMNS:
        found = columns_of(path, names, options)
        if found is not None:
            return Table(path, found, delimiter, (), options.time_format)
    # What is said of files without a header is not said of those that have one.
    header = tuple(options.header)
    delimiter, _ = _cut(line, len(header))
    found = columns_of(path, header, options) if header and line else None
    return None if found is None else Table(path, found, delimiter, header, options.time_format)


def _of_parquet(path: Path, options: TableOptions) -> TableColumns | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return None
    unreadable = [field.name for field in schema if not _is_attribute(field.type)]
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    found = columns_of(path, schema.names, options)
    for name, column in found.fields.items() if found is not None else ():
        if column in {*unreadable, *lists}:
            kind = f"column {column} as {name}, of type {schema.field(column).type}"
            raise LogError(path, kind, "texts, whole numbers or instants, or --leave-out")
    return columns_of(path, schema.names, options, unreadable)


def check_undated(tables: Sequence[Table]) -> None:
    """Refuse tables whose versions would replace each other.

    Args:
        tables: Those of one import that say no instants.

    Raises:
        LogError: Two of one kind say different things.
    """
    for n, table in enumerate(tables):
        for other in tables[:n]:
            said = [set(one.columns.others) for one in (other, table)]
            if other.columns.kind == table.columns.kind and said[0] != said[1]:
                found = f"{other.path.name} says other things of the same {table.columns.kind}"
                expected = "one table of them: a version replaces what was said before"
                raise LogError(table.path, found, expected)


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


def _cut(line: str, n_cells: int = 0) -> tuple[str, list[str]]:
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


def _instant_or_none(cell: object, time_format: str) -> int | None:
    try:
        return None if is_nothing(cell) else instant_of(cell, time_format)
    except EventError:
        return None  # reported where the row is read
