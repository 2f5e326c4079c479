"""The DuckDB file that holds the log: opened locked down, written idempotently, read in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import duckdb
import polars as pl

from recsys.config import LogConfig
from recsys.errors import LogError
from recsys.events.connecting import claim, connect, first_line
from recsys.events.frames import KINDS, SCHEMAS, Kind

SCHEMA_VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);
CREATE TABLE items (
    event_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL, attributes JSON NOT NULL,
    occurred_at BIGINT NOT NULL, visible_at BIGINT NOT NULL);
CREATE TABLE users (
    event_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, attributes JSON NOT NULL,
    occurred_at BIGINT NOT NULL, visible_at BIGINT NOT NULL);
CREATE TABLE impressions (
    event_id VARCHAR NOT NULL, impression_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL, item_ids VARCHAR[] NOT NULL, context JSON NOT NULL,
    item_attributes JSON NOT NULL, occurred_at BIGINT NOT NULL, visible_at BIGINT NOT NULL);
CREATE TABLE interactions (
    event_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, item_id VARCHAR NOT NULL,
    type VARCHAR NOT NULL, impression_id VARCHAR NOT NULL, session_id VARCHAR NOT NULL,
    value DOUBLE, attributes JSON NOT NULL,
    occurred_at BIGINT NOT NULL, visible_at BIGINT NOT NULL);
"""
_BATCH: Final = "incoming"
#: Event ids that are searched for at a time.
_MOST_IDS: Final = 1_000_000


class CarriedOut(NamedTuple):
    """Erasures that left no bytes.

    Args:
        n: All of them.
        names: Those of the last run, whose files a reader may still have found.
    """

    n: int = 0
    names: tuple[str, ...] = ()

    def among(self, names: Iterable[str]) -> int:
        """Count all erasures that a reader of the log heeds.

        Args:
            names: Those that were found asked for before the log was read.

        Returns:
            Carried out or not, each once.
        """
        return self.n + len(set(names).difference(self.names))

    def and_also(self, names: Iterable[str]) -> CarriedOut:
        """Add those of a run.

        Returns:
            All together.
        """
        listed = tuple(names)
        return CarriedOut(self.among(listed), listed) if listed else self


class Warehouse:
    """An open log; use it as a context manager.

    A primary key would halve the speed of writing and keep an index in memory that grows with the
    log, so event ids are kept unique by an anti-join of each batch with its table.

    Args:
        connection: An open DuckDB connection, which it will close.
        path: The file, for messages.
        release: Called after closing.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: Path, release: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._path = path
        self._release = release

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._connection.close()
        finally:
            self._release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block as one transaction: all of it is kept, or nothing.

        Yields:
            Nothing.

        Raises:
            LogError: The database refused; the disk may be full.
        """
        try:
            self._connection.begin()
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
        except duckdb.Error as error:
            raise LogError(self._path, first_line(error), "a log that can be written") from error

    def write(self, frames: Mapping[Kind, pl.DataFrame]) -> dict[Kind, int]:
        """Add rows whose event id is new to their table; call it within `transaction`.

        Args:
            frames: With the columns of `SCHEMAS`; of several rows with one event id the first
                counts.

        Returns:
            How many rows were new, by table.
        """
        return {kind: self._write_table(kind, frame) for kind, frame in frames.items()}

    def _write_table(self, kind: Kind, frame: pl.DataFrame) -> int:
        if frame.is_empty():
            return 0
        rows = frame.unique("event_id", keep="first", maintain_order=True)
        self._connection.register(_BATCH, rows)
        try:
            (counted,) = self._connection.execute(
                f"INSERT INTO {kind} SELECT b.* FROM {_BATCH} b ANTI JOIN {kind} t USING (event_id)"
            ).fetchall()
        finally:
            self._connection.unregister(_BATCH)
        return int(counted[0])

    def append(self, kind: Kind, frame: pl.DataFrame) -> None:
        """Add rows whose event ids are known to be new; call it within `transaction`.

        Args:
            kind: The table.
            frame: With the columns of `SCHEMAS`.
        """
        if frame.is_empty():
            return
        self._connection.register(_BATCH, frame)
        try:
            self._connection.execute(f"INSERT INTO {kind} SELECT * FROM {_BATCH}")
        finally:
            self._connection.unregister(_BATCH)

    def batches(self, kind: Kind, n_rows: int) -> Iterator[pl.DataFrame]:
        """Copy a table piece by piece; nobody may write to it meanwhile.

        Args:
            kind: Which one.
            n_rows: Of a piece, at most.

        Yields:
            Frames with the columns of `SCHEMAS`.
        """
        (end,) = self.query(f"SELECT coalesce(max(rowid) + 1, 0) AS n FROM {kind}")["n"]
        for start in range(0, int(end), n_rows):
            sql = f"SELECT {columns_of(kind)} FROM {kind} WHERE rowid >= ? AND rowid < ?"
            yield self.query(sql, [start, start + n_rows]).cast(SCHEMAS[kind])

    def read_shown_to(self, user_ids: Sequence[str]) -> pl.DataFrame:
        """Copy the impressions of some users.

        Returns:
            A frame with the columns of `SCHEMAS`, in no particular order.
        """
        sql = f"SELECT {columns_of('impressions')} FROM impressions WHERE list_contains(?, user_id)"
        return self.query(sql, [list(user_ids)]).cast(SCHEMAS["impressions"])

    def erasures(self) -> CarriedOut:
        """Tell which erasures were carried out on this log.

        Returns:
            How many, and the names of the latest.
        """
        found = self.query("SELECT value FROM meta WHERE key = 'erasures'")["value"]
        if not len(found):
            return CarriedOut()
        n, *names = found[0].split()
        return CarriedOut(int(n), tuple(names))

    def set_erasures(self, carried_out: CarriedOut) -> None:
        """Note which erasures were carried out; call it within `transaction`."""
        value = " ".join([str(carried_out.n), *carried_out.names])
        self._connection.execute("DELETE FROM meta WHERE key = 'erasures'")
        self._connection.execute("INSERT INTO meta VALUES ('erasures', ?)", [value])

    def newest(self) -> int:
        """Find when the newest event became visible.

        Returns:
            Microseconds; 0 for an empty log.
        """
        latest = " UNION ALL ".join(
            f"SELECT max(visible_at) AS newest FROM {kind}" for kind in KINDS
        )
        (found,) = self.query(f"SELECT coalesce(max(newest), 0) AS n FROM ({latest})")["n"]
        return int(found)

    def read(self, kind: Kind, after_us: int | None = None) -> pl.DataFrame:
        """Copy a table.

        Args:
            kind: Which one.
            after_us: Only what became visible after this instant, microseconds; None: all of it.

        Returns:
            A frame with the columns of `SCHEMAS`, in no particular order.

        Raises:
            LogError: The file is damaged.
        """
        columns = columns_of(kind)
        where, parameters = ("", []) if after_us is None else (" WHERE visible_at > ?", [after_us])
        return self.query(f"SELECT {columns} FROM {kind}{where}", parameters).cast(SCHEMAS[kind])

    def known(self, kind: Kind, event_ids: pl.Series) -> pl.DataFrame:
        """Find which event ids a table holds.

        Returns:
            One column, event_id: those of the given ones that it holds.

        Raises:
            LogError: The file is damaged.
        """
        sql = f"SELECT event_id FROM {kind} WHERE event_id IN (SELECT unnest(?))"
        # In parts: what is searched for must fit into the memory that DuckDB may take.
        parts = [event_ids.slice(n, _MOST_IDS) for n in range(0, max(len(event_ids), 1), _MOST_IDS)]
        return pl.concat([self.query(sql, [part.to_list()]) for part in parts])

    def newest_content(self, kind: Kind, prefix: str) -> dict[str, str]:
        """Find what the newest versions say whose event ids begin in one way.

        Returns:
            By id of the item or user, the MD5 of the attributes in hexadecimal.

        Raises:
            LogError: The file is damaged.
        """
        who = "item_id" if kind == "items" else "user_id"
        newest = "md5(arg_max(attributes::VARCHAR, (visible_at, event_id)))"
        where = "WHERE starts_with(event_id, ?) GROUP BY 1"
        sql = f"SELECT {who} AS who, {newest} AS content FROM {kind} {where}"
        found = self.query(sql, [prefix])
        return dict(zip(found["who"].to_list(), found["content"].to_list(), strict=True))

    def first_interaction(self) -> int | None:
        """Find when the first interaction happened.

        Returns:
            Microseconds since the Unix epoch; None where there is none.

        Raises:
            LogError: The file is damaged.
        """
        found: int | None = self.query("SELECT min(occurred_at) AS first FROM interactions")[0, 0]
        return found

    def read_last(self, kind: Kind, n: int) -> pl.DataFrame:
        """Copy the rows of a table that became visible last.

        Returns:
            At most n rows with the columns of `SCHEMAS`, in no particular order.

        Raises:
            LogError: The file is damaged.
        """
        order = "ORDER BY visible_at DESC, event_id DESC LIMIT ?"
        return self.query(f"SELECT {columns_of(kind)} FROM {kind} {order}", [n]).cast(SCHEMAS[kind])

    def query(self, sql: str, parameters: list[Any] | None = None) -> pl.DataFrame:
        """Run a query and copy its result.

        Args:
            sql: One statement; values only as `?`.
            parameters: One per `?`.

        Returns:
            The result.

        Raises:
            LogError: The query fails.
        """
        try:
            frame: pl.DataFrame = self._connection.sql(sql, params=parameters or []).pl()
        except duckdb.Error as error:
            raise LogError(self._path, first_line(error), "a readable log") from error
        return frame

    def checkpoint(self) -> None:
        """Move what was committed from the write-ahead log into the file itself.

        Raises:
            LogError: The file cannot be written.
        """
        try:
            self._connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise LogError(self._path, first_line(error), "a log that can be written") from error

    def prepare(self) -> None:
        """Create the tables of an empty database, and check who wrote those of any other.

        Raises:
            LogError: It is no log, or a newer version of this software wrote it.
        """
        if self._tables():
            self.check_version()
            return
        with self.transaction():
            self._connection.execute(_TABLES)
            self._connection.execute(
                "INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)]
            )

    def check_version(self) -> None:
        """Check that this software knows the tables.

        Raises:
            LogError: It is no log, or a newer version of this software wrote it.
        """
        missing = {"meta", *KINDS} - self._tables()
        if missing:
            found = f"a database without the table {min(missing)}"
            raise LogError(self._path, found, "a behaviour log")
        versions = self.query("SELECT value FROM meta WHERE key = 'schema_version'")["value"]
        found_version = versions[0] if len(versions) == 1 else "none"
        if not found_version.isdigit() or int(found_version) > SCHEMA_VERSION:
            raise LogError(
                self._path,
                f"schema version {found_version}",
                f"at most {SCHEMA_VERSION}; a newer recsys wrote this log",
            )

    def _tables(self) -> set[str]:
        return set(self.query("SELECT table_name FROM duckdb_tables()")["table_name"])


def columns_of(kind: Kind) -> str:
    """List the columns of a table for a query that reads it.

    Returns:
        SQL.
    """
    return ", ".join(
        f"{name}::VARCHAR AS {name}" if dtype == pl.String() else name
        for name, dtype in SCHEMAS[kind].items()
    )


def open_warehouse(
    config: LogConfig, *, read_only: bool = False, wait_s: float = 0.0, most_memory: str = ""
) -> Warehouse:
    """Open the log; a writer creates file and tables where they are missing.

    Args:
        config: Its path, absolute or relative to the current folder, and its limits.
        read_only: Many processes may read at once, but only while none writes.
        wait_s: How long to wait for another process to let go of the file, seconds.
        most_memory: Where less than `config` allows is enough: so much.

    Returns:
        The open log.

    Raises:
        LogError: Another process holds the file, or it is damaged, newer, or no log at all.
    """
    path = Path(config.path)
    deadline = time.monotonic() + wait_s
    release = _no_release if read_only else claim(path, deadline)
    try:
        connection = connect(path, config, read_only, deadline, most_memory=most_memory)
    except BaseException:
        release()
        raise
    warehouse = Warehouse(connection, path, release)
    try:
        if read_only:
            warehouse.check_version()
        else:
            warehouse.prepare()
    except BaseException:
        warehouse.__exit__(None, None, None)
        raise
    return warehouse


def _no_release() -> None:
    """Give back nothing: readers claim nothing."""
