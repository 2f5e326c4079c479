"""A snapshot has each event once, in the order in which events became visible."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import LogConfig
from recsys.errors import LogError
from recsys.events.frames import KINDS, SCHEMAS, event_frames
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.events.warehouse import open_warehouse
from recsys.schema import (
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

clicks = st.builds(
    VisibleEvent,
    st.builds(
        InteractionEvent,
        st.sampled_from("abcdef"),
        st.integers(0, 9),
        st.sampled_from("uv"),
        st.sampled_from("xyz"),
        st.just("click"),
    ),
    st.integers(0, 9),
)


def _same(left: LogSnapshot, right: LogSnapshot) -> bool:
    return all(getattr(left, kind).equals(getattr(right, kind)) for kind in KINDS)


def test_columns_are_typed_and_complete_even_when_empty() -> None:
    log = snapshot_of([])
    for kind in KINDS:
        assert getattr(log, kind).schema == SCHEMAS[kind]


def test_rows_carry_what_events_said() -> None:
    log = snapshot_of([
        VisibleEvent(ItemEvent("e", 1, "i", {"n": 2.0, "l": ["é"]}), 3),
        VisibleEvent(UserEvent("e", 1, "u"), 3),
        VisibleEvent(
            ImpressionEvent("e", 1, "", ["b", "a"], context={"q": "x"}, item_attributes={"a": {}}),
            3,
        ),
        VisibleEvent(InteractionEvent("e", 1, "u", "i", "click"), 3),
    ])
    assert json.loads(log.items["attributes"][0]) == {"n": 2.0, "l": ["é"]}
    assert log.users.row(0) == ("e", "u", "{}", 1, 3)
    assert log.impressions.row(0) == (
        *("e", "e", "", "", ["b", "a"], '{"q":"x"}', '{"a":{}}'),
        *(1, 3),
    )
    assert log.interactions.row(0) == ("e", "u", "i", "click", "", "", None, "{}", 1, 3)


@given(st.lists(clicks, max_size=30))
def test_the_first_visible_of_one_id_counts(events: list[VisibleEvent]) -> None:
    expected: dict[str, VisibleEvent] = {}
    for visible in events:
        known = expected.get(visible.event.event_id)
        if known is None or visible.visible_at < known.visible_at:
            expected[visible.event.event_id] = visible
    rows = sorted(expected.values(), key=lambda v: (v.visible_at, v.event.event_id))
    log = snapshot_of(events)
    assert log.interactions["event_id"].to_list() == [v.event.event_id for v in rows]
    assert log.interactions["item_id"].to_list() == [v.event.item_id for v in rows]
    assert log.interactions["visible_at"].to_list() == [v.visible_at for v in rows]


@settings(deadline=None, max_examples=12)
@given(st.lists(st.lists(clicks, max_size=8), max_size=4))
def test_a_table_keeps_the_first_written_of_one_id(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[VisibleEvent]]
) -> None:
    config = LogConfig(path=str(tmp_path_factory.mktemp("log") / "log.duckdb"))
    first: dict[str, VisibleEvent] = {}
    with open_warehouse(config) as warehouse:
        for batch in batches:
            with warehouse.transaction():
                new = warehouse.write(event_frames(batch))
            before = len(first)
            for visible in batch:
                first.setdefault(visible.event.event_id, visible)
            assert new["interactions"] == len(first) - before
    assert _same(read_snapshot(config), snapshot_of(first.values()))


def test_types_survive_the_tables(tmp_path: Path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    events = [
        VisibleEvent(
            ItemEvent("e\0\u00e9", 1, "'; DROP TABLE items; --", {"a\0": "x\0y", "f": 0.1}), 2
        ),
        VisibleEvent(ImpressionEvent("p", 1, "u", ["a", "b", "a"], "p", "s", {"big": 1e300}), 2),
    ]
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse.write(event_frames(events))
    assert _same(read_snapshot(config), snapshot_of(events))


def test_a_missing_log_is_an_empty_one(tmp_path: Path) -> None:
    log = read_snapshot(LogConfig(path=str(tmp_path / "log.duckdb")))
    assert _same(log, snapshot_of([]))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    frames = event_frames([VisibleEvent(UserEvent("e", 1, "u"), 1)])

    def write_and_fail() -> None:
        with warehouse.transaction():
            warehouse.write(frames)
            raise KeyboardInterrupt

    with open_warehouse(config) as warehouse:
        with pytest.raises(KeyboardInterrupt):
            write_and_fail()
        assert warehouse.read("users").is_empty()


def test_a_newer_schema_is_refused_by_readers_and_writers(tmp_path: Path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    with open_warehouse(config) as warehouse, warehouse.transaction():
        warehouse._connection.execute("UPDATE meta SET value = '2'")
    for read_only in (True, False):
        with pytest.raises(LogError, match="schema version 2; expected at most 1"):
            open_warehouse(config, read_only=read_only)


@pytest.mark.parametrize("content", [b"", b"garbage" * 3000, b'{"a":1}\n'])
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.duckdb"
    path.write_bytes(content)
    with pytest.raises(LogError, match=r"log\.duckdb"):
        read_snapshot(LogConfig(path=str(path)))


def test_queries_see_nothing_but_the_log(tmp_path: Path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with open_warehouse(config) as warehouse:
        with pytest.raises(LogError):
            warehouse.query("SELECT * FROM read_csv(?)", [str(secret)])
        with pytest.raises(LogError):
            warehouse.query("SET threads = 64")
        assert warehouse.query("SELECT ? AS a", ["x"]).equals(pl.DataFrame({"a": ["x"]}))


def test_a_second_writer_in_one_process_is_refused(tmp_path: Path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    with open_warehouse(config):
        with pytest.raises(LogError, match="another thread"):
            open_warehouse(config)
        with pytest.raises(LogError, match="holds the file"):
            open_warehouse(config, read_only=True)
    with open_warehouse(config) as warehouse:
        assert warehouse.read("users").is_empty()
