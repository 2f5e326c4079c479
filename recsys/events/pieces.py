"""The log in pieces, in order of time: for work on a log that is longer than the memory.

The tables hold rows in the order in which they came. Sorting all of them would write the log to
disk once more; instead, instants are chosen that cut it into pieces of at most one size, and each
piece is read by a filter on `visible_at`, which skips the blocks of a file in which nothing falls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from recsys.config import LogConfig
from recsys.events.erasure import Eraser, pending_erasures
from recsys.events.frames import KINDS, SCHEMAS, Kind, event_frames
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import WAIT_S, LogSnapshot, as_snapshot, first_visible
from recsys.events.spool import read_spool, spool_folder
from recsys.events.warehouse import Warehouse, columns_of, open_warehouse

#: Events of a piece, shown items included; more only where one microsecond has more.
PIECE_EVENTS: Final = 1_000_000
#: DuckDB keeps what it has read until its limit is reached. What is read once is not asked for
#: again, so it gets no more than a scan and the search for known ids need.
_MEMORY: Final = "256MiB"
#: Spans of time that are counted at once.
_SPANS: Final = 4096
_WEIGHTS: Final[dict[Kind, str]] = {"impressions": "1 + len(item_ids)"}


@dataclass(frozen=True, slots=True)
class StoredLog:
    """The log on disk; together its pieces are what `read_snapshot` gives.

    While pieces are taken the tables stay open, for readers; the spool is held in memory.

    Args:
        config: The log; a missing one has no pieces.
        n_events: Events to read at a time at most; but those of one instant are never parted.
        wait_s: How long to wait for a process that writes the tables, seconds.
        progress: Told of the events of the tables that have been worked on, where there are several
            pieces.
    """

    config: LogConfig
    n_events: int = PIECE_EVENTS
    wait_s: float = WAIT_S
    progress: Progress = tell_nobody

    @property
    def scratch(self) -> Path:
        """The folder of the tables."""
        return Path(self.config.path).parent

    def pieces(self) -> Iterator[LogSnapshot]:
        """Read tables and spool piece by piece.

        Yields:
            Pieces, each later than the one before; none is empty.

        Raises:
            LogError: The log cannot be opened, or is damaged.
            SpoolDamagedError: The spool is damaged.
        """
        erasures = pending_erasures(self.config)
        spooled = event_frames(read_spool(spool_folder(self.config)))
        if not Path(self.config.path).exists():
            if any(frame.height for frame in spooled.values()):
                firsts = {kind: first_visible(frame) for kind, frame in spooled.items()}
                yield as_snapshot(firsts, erasures)
            return
        with open_warehouse(
            self.config, read_only=True, wait_s=self.wait_s, most_memory=_MEMORY
        ) as warehouse:
            news = {kind: _new(warehouse, kind, first_visible(f)) for kind, f in spooled.items()}
            carried_out = warehouse.erasures()
            eraser = Eraser(erasures)  # one for all: it remembers the impressions that it renamed
            parts = _parts(warehouse, self.n_events)
            n_read, n_all = 0, sum(part.n_rows for part in parts)
            for start, stop, n_rows in parts:
                frames = {
                    kind: _read(warehouse, kind, start, stop).vstack(_between(new, start, stop))
                    for kind, new in news.items()
                }
                if any(frame.height for frame in frames.values()):
                    yield as_snapshot(eraser.tables(frames), erasures, carried_out)
                n_read += n_rows
                if len(parts) > 1:
                    self.progress("reading the log", n_read, n_all)


def _new(warehouse: Warehouse, kind: Kind, spooled: pl.DataFrame) -> pl.DataFrame:
    """Leave out what the tables hold already.

    Returns:
        The other rows.
    """
    known = warehouse.known(kind, spooled["event_id"]).cast(pl.String)
    return spooled.join(known, on="event_id", how="anti", maintain_order="left")


def _between(frame: pl.DataFrame, start: int | None, stop: int | None) -> pl.DataFrame:
    at = pl.col("visible_at")
    after = pl.lit(value=True) if start is None else at >= start
    before = pl.lit(value=True) if stop is None else at < stop
    return frame.filter(after & before)


def _read(warehouse: Warehouse, kind: Kind, start: int | None, stop: int | None) -> pl.DataFrame:
    bounds = [("visible_at >= ?", start), ("visible_at < ?", stop)]
    given = [(text, value) for text, value in bounds if value is not None]
    where = " AND ".join(text for text, _ in given) or "true"
    sql = f"SELECT {columns_of(kind)} FROM {kind} WHERE {where}"
    return warehouse.query(sql, [value for _, value in given]).cast(SCHEMAS[kind])


class _Part(NamedTuple):
    """A stretch of time, and how many rows the tables have in it.

    Args:
        start: Its first microsecond; None: from the first event on.
        stop: The one after its last; None: to the last event.
        n_rows: Shown items included.
    """

    start: int | None
    stop: int | None
    n_rows: int


def _parts(warehouse: Warehouse, n_rows: int) -> list[_Part]:
    """Cut the tables, taken together, into pieces of about one size.

    The same tables are always cut alike, because ids are numbered piece by piece.

    Returns:
        Parts in order of time, at least one.
    """
    times = " UNION ALL ".join(
        f"SELECT min(visible_at) a, max(visible_at) b FROM {k}" for k in KINDS
    )
    first, last = warehouse.query(f"SELECT min(a) AS a, max(b) AS b FROM ({times})").row(0)
    starts: list[int | None] = [None]
    sizes = [0]
    if first is not None:
        for start, n in _crowds(warehouse, int(first), int(last) + 1, n_rows):
            if sizes[-1] and sizes[-1] + n > n_rows:
                starts.append(start)
                sizes.append(0)
            sizes[-1] += n
    return [_Part(*part) for part in zip(starts, [*starts[1:], None], sizes, strict=True)]


def _crowds(warehouse: Warehouse, first: int, stop: int, n_rows: int) -> Iterator[tuple[int, int]]:
    """Count the rows of short spans of time; a shown item is a row as well.

    Spans in which there is too much are cut again, down to single microseconds.

    Yields:
        When a span begins, and how many rows it has; in order of time, empty ones left out.
    """
    width = -(-(stop - first) // _SPANS)
    every = " UNION ALL ".join(
        f"SELECT visible_at, {_WEIGHTS.get(kind, '1')} AS n FROM {kind}"
        f" WHERE visible_at >= {first} AND visible_at < {stop}"
        for kind in KINDS
    )
    sql = (
        f"SELECT (visible_at - {first}) // {width} AS span, sum(n)::BIGINT AS n"
        f" FROM ({every}) GROUP BY span ORDER BY span"
    )
    for span, n in warehouse.query(sql).iter_rows():
        start = first + span * width
        if n > n_rows and width > 1:
            yield from _crowds(warehouse, start, min(start + width, stop), n_rows)
        else:
            yield start, n
