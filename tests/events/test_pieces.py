"""The pieces of a log, one after another, are the log."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys.config import LogConfig
from recsys.events.frames import KINDS, event_frames
from recsys.events.pieces import StoredLog
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.events.warehouse import open_warehouse
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, VisibleEvent


def clicks(*numbers: int) -> list[VisibleEvent]:
    events = [InteractionEvent(f"e{n}", n, "u", f"i{n % 7}", "click") for n in numbers]
    return [VisibleEvent(event, event.occurred_at // 3) for event in events]


@pytest.fixture
def config(tmp_path: Path) -> LogConfig:
    """A log whose rows came in no order, and a spool that repeats some of them."""
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    shown = [VisibleEvent(ImpressionEvent("s", 40, "u", ["i1", "i2"]), 40)]
    item = [VisibleEvent(ItemEvent("v", 5, "i1", {"n": 1.0}), 90)]
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse.write(event_frames([*clicks(*range(200, 300)), *shown, *clicks(*range(150))]))
        warehouse.write(event_frames(item))
    spool = SpoolWriter(spool_folder(config))
    spool.append([*clicks(299, 3, 160), VisibleEvent(clicks(301)[0].event, 20), *clicks(301)])
    spool.sync()
    spool.close()
    return config


def joined(pieces: list[LogSnapshot], kind: str) -> pl.DataFrame:
    return pl.concat([getattr(piece, kind) for piece in pieces])


@pytest.mark.parametrize("n_events", [1, 7, 50, 100_000])
def test_pieces_together_are_the_snapshot(config, n_events) -> None:
    whole, pieces = read_snapshot(config), list(StoredLog(config, n_events=n_events).pieces())
    for kind in KINDS:
        assert joined(pieces, kind).equals(getattr(whole, kind))
    ends = [piece.interactions["visible_at"].max() for piece in pieces if len(piece.interactions)]
    assert ends == sorted(set(ends))
    assert (len(pieces) == 1) == (n_events == 100_000)


def test_pieces_are_about_as_long_as_asked_for(config) -> None:
    sizes = [
        sum(getattr(p, k).height for k in KINDS) for p in StoredLog(config, n_events=50).pieces()
    ]
    assert max(sizes) <= 50
    assert len(sizes) <= 8


def test_a_log_that_is_only_a_spool_is_one_piece_and_a_missing_one_none(tmp_path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    assert list(StoredLog(config).pieces()) == []
    spool = SpoolWriter(spool_folder(config))
    spool.append(clicks(2, 1))
    spool.sync()
    spool.close()
    (piece,) = StoredLog(config).pieces()
    assert piece.interactions.equals(read_snapshot(config).interactions)


def test_progress_is_told_of_logs_of_several_pieces(config) -> None:
    told: list[tuple[str, int, int]] = []
    log = StoredLog(config, n_events=50, progress=lambda *how_far: told.append(how_far))
    n_pieces = len(list(log.pieces()))
    assert len(told) == n_pieces
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    # The tables: 250 clicks, a list with two items, and an item; the spool is in memory.
    assert told[-1] == ("reading the log", 254, 254)
    told.clear()
    assert list(StoredLog(config, progress=lambda *how_far: told.append(how_far)).pieces())
    assert not told
