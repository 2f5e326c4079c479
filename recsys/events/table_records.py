"""Reads tables: their rows, and what is said of them before and after."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.cells import column_of, is_nothing
from recsys.events.exposures import lists_of
from recsys.events.readers import CsvRecords, RowRecords
from recsys.events.sources import Record, RecordReader
from recsys.events.table_rows import Rows
from recsys.events.tables import DAMAGE, Table
from recsys.events.undated import Undated

_SAMPLE: Final = 1_000
#: How a program with nothing but floats writes a whole number.
_WHOLE: Final = re.compile(r"\d+\.0")
_IDS: Final = ("user_id", "item_id", "session_id", "impression_id")


class TableRecords:
    """Reads a table; nothing of it is looked at before.

    Args:
        table: The table.
        undated: Says when versions are known of which no instant is said.
        ended: Lists of the import that are over; written.
    """

    def __init__(self, table: Table, undated: Undated, ended: set[int]) -> None:
        self._table = table
        self._undated = undated
        self._ended = ended
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
        rows, last = self._rows(), None
        self._reader = self._reading(rows)
        records = self._reader.records()
        if self._table.columns.kind == "exposures":
            records = lists_of(records, rows.exposure_or_error, self._ended)
        for record in records:
            last = record
            yield record
        if last is not None:
            for version in rows.rest():
                yield last._replace(event=version)

    def _reading(self, rows: Rows) -> RecordReader:
        table = self._table
        if not table.delimiter:
            return RowRecords(table.path, table.names, rows)
        return CsvRecords(table.path, rows, delimiter=table.delimiter, header=table.header)

    def _rows(self) -> Rows:
        """Look at the first rows, and at all of them where the last of an id counts.

        Returns:
            What says what rows say.
        """
        table = self._table
        sample: list[dict[str, Any]] = []
        if table.delimiter:
            with contextlib.suppress(*DAMAGE):
                sample.extend(islice(table.rows(), _SAMPLE))
        cells = {name: [row.get(name) for row in sample] for name in table.names}
        kinds = {name: column_of(name, found) for name, found in cells.items()}
        fields = table.columns.fields
        floats = [fields[name] for name in _IDS if _are_floats(cells.get(fields.get(name, "")))]
        rows = Rows(table, kinds, frozenset(floats), self._undated)
        if not table.columns.is_dated:
            with contextlib.suppress(*DAMAGE):
                for row in table.rows():
                    with contextlib.suppress(EventError):
                        rows.count(row)
        return rows


def _are_floats(cells: Sequence[object] | None) -> bool:
    texts = [str(cell).strip() for cell in cells or () if not is_nothing(cell)]
    return bool(texts) and all(_WHOLE.fullmatch(text) for text in texts)
