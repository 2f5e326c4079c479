"""The file of a batch run: Parquet or JSON lines, under its name only when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import BatchError

_FORMATS: Final = (".parquet", ".jsonl")


def schema_of(whose: str) -> pa.Schema:
    """Describe the rows of lists.

    Args:
        whose: Name of the column that says what a list is for, such as `user_id`.

    Returns:
        The columns; no value is missing.
    """
    types = {
        whose: pa.string(),
        "rank": pa.int32(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "model_version": pa.string(),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


class ListsWriter(Protocol):
    """Takes tables of one schema, one after the other."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        ...


class _JsonLines:
    """Rows as JSON lines, with the names of the columns."""

    def __init__(self, path: Path) -> None:
        self._encode = msgspec.json.Encoder().encode_lines
        self._file = path.open("wb")

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_table(self, table: pa.Table) -> None:
        self._file.write(self._encode(table.to_pylist()))


def check_out(out: Path) -> None:
    """Refuse what cannot be written before anything is computed for it.

    Raises:
        BatchError: The name says no known format, is that of a folder, or its folder cannot be
            made or written to.
    """
    if out.suffix not in _FORMATS:
        raise BatchError(out, "a name of no known format", f"one that ends in {_named_formats()}")
    if out.is_dir():
        raise BatchError(out, "a folder", "the name of a file")
    partial = _partial(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise BatchError(out, *_failed(error)) from error


@contextmanager
def lists_file(out: Path, schema: pa.Schema) -> Iterator[ListsWriter]:
    """Write a file beside and rename it at the end; what was not completed is removed.

    Args:
        out: Its name; `.parquet` and `.jsonl` say the format.
        schema: Of its rows.

    Yields:
        The writer.

    Raises:
        BatchError: As of `check_out`, or the disk is full.
    """
    check_out(out)
    partial = _partial(out)
    writer = pq.ParquetWriter(partial, schema) if out.suffix == ".parquet" else _JsonLines(partial)
    try:
        with writer:
            yield writer
        partial.replace(out)
    except OSError as error:
        raise BatchError(out, *_failed(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def _named_formats() -> str:
    return " or ".join(_FORMATS)


def _failed(error: OSError) -> tuple[str, str]:
    found = error.strerror or str(error).splitlines()[0]
    return f"cannot be written ({found})", "a folder with room that can be written to"
