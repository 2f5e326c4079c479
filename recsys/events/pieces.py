"""The log in pieces, in order of time: for work on a log that is longer than the memory.

The tables hold rows in the order in which they came. Sorting all of them would write the log to
disk once more; instead, instants are chosen that cut it into pieces of about one size, and each
piece is read by a filter on `visible_at`, which skips the blocks of a file in which nothing falls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from recsys.config import LogConfig
from recsys.events.erasure import Eraser, pending_erasures
from recsys.events.frames import Kind, event_frames
from recsys.events.snapshot import LogSnapshot, as_snapshot, first_visible
from recsys.events.spool import read_spool, spool_folder
from recsys.events.warehouse import Warehouse, open_warehouse

#: Events of a piece, about: twice as many where events are unevenly spread.
PIECE_EVENTS: Final = 1_000_000
_WAIT_S: Final = 30.0


def read_pieces(
    config: LogConfig, *, n_events: int = PIECE_EVENTS, wait_s: float = _WAIT_S
) -> Iterator[LogSnapshot]:
    """Read tables and spool piece by piece; together the pieces are what `read_snapshot` gives.

    The tables stay open, for readers, until the last piece was taken; the spool is held in memory.

    Args:
        config: The log; a missing one has no pieces.
        n_events: About how many events to read at a time; events of one instant are never parted.
        wait_s: How long to wait for a process that writes the tables, seconds.

    Yields:
        Pieces, each later than the one before; none is empty.

    Raises:
        LogError: The log cannot be opened, or is damaged.
        SpoolDamagedError: The spool is damaged.
    """
    erasures = pending_erasures(config)
    spooled = event_frames(read_spool(spool_folder(config)))
    if not Path(config.path).exists():
        if any(frame.height for frame in spooled.values()):
            yield as_snapshot({kind: first_visible(f) for kind, f in spooled.items()}, erasures)
        return
    with open_warehouse(config, read_only=True, wait_s=wait_s) as warehouse:
        news = {kind: _new(warehouse, kind, first_visible(f)) for kind, f in spooled.items()}
        carried_out = warehouse.erasures()
        eraser = Eraser(erasures)  # one for all: it remembers the impressions that it renamed
        cuts = [*warehouse.cuts(n_events), None]
        for start, stop in zip([None, *cuts], cuts, strict=False):
            frames = {
                kind: warehouse.read_between(kind, start, stop).vstack(_between(new, start, stop))
                for kind, new in news.items()
            }
            if any(frame.height for frame in frames.values()):
                yield as_snapshot(eraser.tables(frames), erasures, carried_out)


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
