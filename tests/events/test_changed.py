"""A log in memory and the same one in pieces change alike, and are replayed alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.config import LogConfig
from recsys.evaluation.cold_items import chosen_items
from recsys.events.changed import LogBefore
from recsys.events.frames import KINDS, event_frames
from recsys.events.pieces import StoredLog
from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSource, read_snapshot
from recsys.events.warehouse import open_warehouse
from recsys.features.actions import encode_log
from recsys.testing.worlds import topic_world


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LogConfig:
    folder: Path = tmp_path_factory.mktemp("log")
    config = LogConfig(path=str(folder / "log.duckdb"))
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse.write(event_frames(topic_world(n_users=12, n_lists=4).events))
    return config


@pytest.fixture(scope="module")
def sources(config: LogConfig) -> list[LogSource]:
    pieces = StoredLog(config, n_events=40)
    assert len(list(pieces.pieces())) > 5
    return [read_snapshot(config), pieces]


def test_events_are_replayed_in_the_same_order(sources: list[LogSource]) -> None:
    whole, pieces = (list(visible_events(source)) for source in sources)
    assert whole == pieces
    assert [event.visible_at for event in whole] == sorted(event.visible_at for event in whole)


def test_what_came_at_an_instant_or_later_is_left_out(sources: list[LogSource]) -> None:
    instant = middle_of(sources[0])
    whole, pieces = (LogBefore(source, instant) for source in sources)
    for kind in KINDS:
        (frame,) = (getattr(piece, kind) for piece in whole.pieces())
        assert frame.equals(pl.concat([getattr(piece, kind) for piece in pieces.pieces()]))
        assert frame["visible_at"].max() is None or frame["visible_at"].max() < instant
    n_before = sum(event.visible_at < instant for event in visible_events(sources[0]))
    assert n_before == len(list(visible_events(pieces))) > 0
    whole_log, in_pieces = encode_log(whole), encode_log(pieces)
    assert len(whole_log.actions) == len(in_pieces.actions)
    for name in ("types", "visible", "occurred", "values"):
        np.testing.assert_array_equal(
            getattr(whole_log.actions, name), getattr(in_pieces.actions, name)
        )


def middle_of(source: LogSource) -> int:
    instants = sorted(event.visible_at for event in visible_events(source))
    return instants[len(instants) // 2]


def test_the_same_items_are_held_out(sources: list[LogSource]) -> None:
    whole, pieces = (chosen_items(source, np.random.default_rng(3)) for source in sources)
    assert whole.equals(pieces)
