"""Readers that importers build on: a function for one line or row is all that they add.

pyarrow is imported when a Parquet file is met: plugins load for every command.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import zstandard

from recsys.errors import EventError
from recsys.events.sources import (
    MAX_LINE_BYTES,
    LeftOut,
    Record,
    TextFile,
    check_length,
    packing_of,
)
from recsys.schema import Event

if TYPE_CHECKING:
    import pyarrow as pa

#: What a line or row says.
Said: TypeAlias = Iterable[Event | LeftOut]

_BATCH_ROWS: Final = 1_000
# The module's own limit is shorter than an article. It is the process's, and nobody else reads CSV.
csv.field_size_limit(MAX_LINE_BYTES)


def first_line(path: Path) -> str:
    """Read the first line of a plain, gzip or zstd file that is not empty.

    Returns:
        The line; empty for a Parquet file, and for one without text.
    """
    if packing_of(path) == "parquet":
        return ""
    try:
        _, line = next(TextFile(path).lines(), (0, b""))
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return ""  # a damaged file is reported where it is read
    return _decoded(line)


def parquet_columns(path: Path) -> frozenset[str]:
    """List the columns of a Parquet file.

    Returns:
        Their names; none of a file that is no Parquet file.
    """
    if packing_of(path) != "parquet":
        return frozenset()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return frozenset(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return frozenset()


class LineRecords:
    """Reads text line by line.

    Args:
        path: A plain, gzip or zstd file.
        decode: Says what a line says; raises `EventError` where it says nothing.
        encoding: Of the text; bytes that are not of it are refused.
    """

    def __init__(
        self, path: Path, decode: Callable[[str], Said], *, encoding: str = "utf-8"
    ) -> None:
        self._text = TextFile(path)
        self._decode = decode
        self._encoding = encoding

    def bytes_done(self) -> int:
        """Count the bytes read so far.

        Returns:
            Zero before the first line.
        """
        return self._text.bytes_done()

    def records(self) -> Iterator[Record]:
        """Read the lines.

        Yields:
            A record per event.
        """
        for number, line in self._text.lines():
            for said in _said(self._events, line):
                yield Record(number, said, line, len(line))

    def _events(self, line: bytes) -> Said:
        check_length(line)
        try:
            text = line.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise EventError(reason=f"is not {self._encoding} text") from error
        return self._decode(text)


class CsvRecords:
    """Reads a CSV file with a header; quoted cells may go over lines.

    Args:
        path: A plain, gzip or zstd file of UTF-8; lines that are none are read as Windows-1252.
        decode: Says what a row says; raises `EventError` where it says nothing.
        delimiter: Between cells.
        header: Names of the columns where the file has no header.
    """

    def __init__(
        self,
        path: Path,
        decode: Callable[[dict[str, Any]], Said],
        *,
        delimiter: str = ",",
        header: Sequence[str] = (),
    ) -> None:
        self._text = TextFile(path)
        self._decode = decode
        self._delimiter = delimiter
        self._header = header

    def bytes_done(self) -> int:
        """Count the bytes read so far.

        Returns:
            Zero before the first row.
        """
        return self._text.bytes_done()

    def records(self) -> Iterator[Record]:
        """Read the rows.

        Yields:
            A record per event; its number is that of the row, the header being 1.
        """
        rows = csv_rows(self._text, self._delimiter, self._header)
        for number, row in enumerate(rows, start=1 if self._header else 2):
            n_bytes = sum(len(value or "") for value in row.values())
            for said in _said(self._events, row):
                yield Record(number, said, row, n_bytes)

    def _events(self, row: dict[str, Any]) -> Said:
        if None in row or None in row.values():
            raise EventError(reason="has more or fewer cells than the header")
        return self._decode(row)


def csv_rows(
    text: TextFile, delimiter: str = ",", header: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Read the rows of a CSV file.

    Args:
        text: The file.
        delimiter: Between cells.
        header: Names of the columns; empty: the first line has them.

    Yields:
        Cells by column; under the key None what a row has beyond the header, and None for a cell
        that it lacks.

    Raises:
        EventError: The file cannot be cut into cells.
    """
    # A line end within a line is none of this file's, and would end the reading of it.
    lines = (_decoded(line).replace("\r", " ") + "\n" for _, line in text.lines())
    # Programs that write tabs hardly ever quote: a quote is a part of a title there.
    is_quoted = delimiter != "\t"
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    try:
        # Strict: a quote that is not closed would take the rest of the file, without a word.
        rows = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        names = [_unquoted(name.strip()) for name in header or next(rows, [])]
        for row in rows:
            cells = row if is_quoted else list(map(_unquoted, row))
            found: dict[Any, Any] = dict(zip_longest(names, cells[: len(names)]))
            if len(cells) > len(names):
                found[None] = cells[len(names) :]
            yield found
    except csv.Error as error:
        raise EventError(reason=f"is not CSV ({error}); is a quote not closed?") from error


def _unquoted(cell: str) -> str:
    is_quoted = len(cell) > 1 and cell.startswith('"') and cell.endswith('"')
    return cell[1:-1].replace('""', '"') if is_quoted else cell


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        # UTF-8 is hardly ever met by chance, so this is the one that spreadsheets write.
        return line.decode("cp1252", errors="replace")


class RowRecords:
    """Reads a Parquet file row by row, a thousand at a time.

    Args:
        path: The file.
        columns: Those to read; ones that the file lacks are left out of the rows.
        decode: Says what a row says; raises `EventError` where it says nothing.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], decode: Callable[[dict[str, Any]], Said]
    ) -> None:
        self._path = path
        self._columns = columns
        self._decode = decode
        self._share = 0.0

    def bytes_done(self) -> int:
        """Estimate the bytes read so far by the share of rows.

        Returns:
            Zero before the first row.
        """
        return int(self._share * self._path.stat().st_size)

    def records(self) -> Iterator[Record]:
        """Read the rows.

        Yields:
            A record per event.
        """
        number = 0
        for rows, n_bytes, n_rows in _batches(self._path, self._columns):
            for row in rows:
                number += 1
                self._share = number / n_rows
                for said in _said(self._decode, row):
                    yield Record(number, said, row, n_bytes)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read the rows of a Parquet file, a thousand at a time.

    Args:
        path: The file.
        columns: Those to read; ones that the file lacks are left out of the rows.

    Yields:
        Values by column.

    Raises:
        EventError: A value cannot be read.
    """
    for rows, _, _ in _batches(path, columns):
        yield from rows


def _batches(path: Path, columns: Sequence[str]) -> Iterator[tuple[list[dict[str, Any]], int, int]]:
    """Read a Parquet file batch by batch.

    Yields:
        Rows, about how large one is, and how many the file has in all.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=present):
            n_bytes = batch.nbytes // max(batch.num_rows, 1)
            yield _rows_of(batch), n_bytes, file.metadata.num_rows


def _rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = _python_can_hold(batch).to_pylist()
    except (ValueError, OverflowError) as error:  # no UTF-8, or beyond the year 9999
        raise EventError(reason=f"holds a value that cannot be read ({error})") from error
    return rows


def _python_can_hold(batch: pa.RecordBatch) -> pa.Table:
    """Turn instants into microseconds, and texts that nobody said are UTF-8 into texts.

    Returns:
        The same rows.

    Raises:
        ArrowException: Bytes are no UTF-8.
    """
    import pyarrow as pa

    columns = {}
    for name, packed in zip(batch.schema.names, batch.columns, strict=True):
        is_packed = pa.types.is_dictionary(packed.type)
        column = packed.dictionary_decode() if is_packed else packed
        if pa.types.is_timestamp(column.type):
            columns[name] = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            columns[name] = column.cast(pa.string())
        else:
            columns[name] = column
    return pa.table(columns)


def _said(decode: Callable[[Any], Said], what: object) -> Iterator[Event | EventError | LeftOut]:
    try:
        yield from decode(what)
    except EventError as error:
        yield error
