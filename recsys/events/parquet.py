"""Parquet files of events: one kind to a file, recognised by its columns, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import EventError
from recsys.events.codec import event_of_record, without_nulls
from recsys.events.frames import Kind
from recsys.events.sources import Record
from recsys.schema import Event

_BATCH_ROWS: Final = 1_000

#: Columns with a meaning of their own; every other column is an attribute.
_COLUMNS: Final[dict[Kind, frozenset[str]]] = {
    "items": frozenset({"event_id", "occurred_at", "item_id", "attributes"}),
    "users": frozenset({"event_id", "occurred_at", "user_id", "attributes"}),
    "impressions": frozenset({
        *("event_id", "occurred_at", "impression_id", "user_id", "session_id", "item_ids"),
        *("context", "item_attributes"),
    }),
    "interactions": frozenset({
        *("event_id", "occurred_at", "user_id", "item_id", "type", "impression_id"),
        *("session_id", "value", "attributes"),
    }),
}
_ID_COLUMNS: Final = frozenset({
    *("event_id", "item_id", "user_id", "impression_id", "session_id", "type"),
})
_JSON_COLUMNS: Final = frozenset({"attributes", "context", "item_attributes"})
_REQUIRED: Final = ("event_id", "occurred_at")
_KEYS: Final[dict[Kind, str]] = {
    "items": "item",
    "users": "user",
    "impressions": "impression",
    "interactions": "interaction",
}


class ParquetReader:
    """Rows of a Parquet file, with their numbers.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
            One record per row.
        """
        with pq.ParquetFile(self._path) as file:
            kind = _kind(file.schema_arrow)
            n_rows, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                n_bytes = batch.nbytes // max(batch.num_rows, 1)
                for row in _plain(batch).to_pylist():
                    number += 1
                    self._share = number / n_rows
                    yield Record(number, _event_or_error(kind, row), row, n_bytes)


def _kind(schema: pa.Schema) -> Kind:
    names = set(schema.names)
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise EventError(field=missing[0], reason="no such column")
    if {"type", "item_id"} <= names:
        return "interactions"
    if "item_ids" in names:
        return "impressions"
    if ("item_id" in names) != ("user_id" in names):
        return "items" if "item_id" in names else "users"
    expected = "expected type and item_id, or item_ids, or item_id alone, or user_id alone"
    raise EventError(reason=f"the columns are those of no kind of event; {expected}")


def _plain(batch: pa.RecordBatch) -> pa.Table:
    """Turn ids into text and instants into microseconds, whatever they were written as.

    Returns:
        The same rows.

    Raises:
        EventError: A column cannot be turned.
    """
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        target = _target_type(name, column.type)
        try:
            plain = column.cast(target) if target else column
        except pa.ArrowException as error:
            reason = f"column of type {column.type}; expected one that becomes {target}"
            raise EventError(field=name, reason=reason) from error
        is_instant = name == "occurred_at" and pa.types.is_timestamp(plain.type)
        columns[name] = plain.cast(pa.int64()) if is_instant else plain
    return pa.table(columns)


def _target_type(name: str, found: pa.DataType) -> pa.DataType | None:
    if name in _ID_COLUMNS:
        return pa.string()
    if name == "item_ids":
        return pa.list_(pa.string())
    if name == "value":
        return pa.float64()
    if name == "occurred_at" and not _is_text(found):
        return pa.int64() if pa.types.is_integer(found) else pa.timestamp("us", tz="UTC")
    return None


def _is_text(found: pa.DataType) -> bool:
    return found in {pa.string(), pa.large_string()}


def _event_or_error(kind: Kind, row: Mapping[str, Any]) -> Event | EventError:
    try:
        return _event(kind, row)
    except EventError as error:
        return error


def _event(kind: Kind, row: Mapping[str, Any]) -> Event:
    """Lay a row out as a record of the project's own format, so that one decoder checks both.

    Returns:
        The event.
    """
    body: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in row.items():
        if name in _REQUIRED or value is None:
            continue
        if name not in _COLUMNS[kind]:
            extra[name] = value
        else:
            body[name] = _object(name, value) if name in _JSON_COLUMNS else value
    if extra:
        target = "context" if kind == "impressions" else "attributes"
        body[target] = {**body.get(target, {}), **extra}
    record = {"event_id": row["event_id"], "occurred_at": row["occurred_at"], _KEYS[kind]: body}
    return event_of_record(record)


def _object(name: str, value: object) -> object:
    """Read a JSON, struct or map cell.

    Returns:
        A dictionary without its null values, or what the decoder will refuse.

    Raises:
        EventError: It is no object.
    """
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise EventError(field=name, reason="is not JSON") from error
    elif isinstance(value, list):
        value = dict(value)
    if not isinstance(value, dict):
        raise EventError(field=name, reason="is no object; expected names and values")
    if name == "item_attributes":
        return {key: _object("", entry) for key, entry in value.items() if entry is not None}
    return without_nulls(value)
