"""Imports take every good record once, set every bad one aside, and can be killed at any time."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard

from recsys.config import LogConfig
from recsys.errors import ImportStoppedError, LogError
from recsys.events import importing, sources
from recsys.events.codec import encode_event
from recsys.events.frames import KINDS
from recsys.events.importing import ImportReport, import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot, snapshot_of
from recsys.schema import (
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

RANKLENS = Path(__file__).parents[2] / "data" / "ranklens" / "events.jsonl.gz"

EVENTS: list[Event] = [
    ItemEvent("e1", 10, "i1", {"title": "x", "year": 2001.0, "tags": ["a", "b"]}),
    UserEvent("e2", 11, "u1", {"country": "fr"}),
    ImpressionEvent("e3", 12, "u1", ["i1", "i2"], "p1", "s1", {"q": "x"}, {"i1": {"bid": 1.0}}),
    InteractionEvent("e4", 13, "u1", "i1", "click", "p1", "s1", 2.5, {"pos": 1.0}),
]


def _config(folder: Path) -> LogConfig:
    return LogConfig(path=str(folder / "log.duckdb"))


def _lines(*events: Event) -> bytes:
    return b"".join(encode_event(event) + b"\n" for event in events)


def _run(folder: Path, *files: Path, strict: bool = False) -> ImportReport:
    return import_events(
        _config(folder), list(files), rejects=folder / "rejects.jsonl", strict=strict
    )


def _log(*events: Event) -> LogSnapshot:
    return snapshot_of(VisibleEvent(event, event.occurred_at) for event in events)


def _same(left: LogSnapshot, right: LogSnapshot) -> bool:
    return all(getattr(left, kind).equals(getattr(right, kind)) for kind in KINDS)


def _counts(report: ImportReport) -> dict[str, tuple[int, int, int]]:
    return {kind: (n.read, n.new, n.known) for kind, n in report.kinds.items()}


PACKINGS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip members": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd frames": lambda data: b"".join(
        zstandard.ZstdCompressor(write_checksum=True).compress(part)
        for part in (data[:50], data[50:])
    ),
    "byte order mark, blank lines, carriage returns": lambda data: (
        b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n\r\n")
    ),
    "no last line feed": lambda data: data[:-1],
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packing_is_recognised_by_content(tmp_path: Path, packing: str) -> None:
    file = tmp_path / "events.anything"
    file.write_bytes(PACKINGS[packing](_lines(*EVENTS)))
    report = _run(tmp_path, file)
    assert set(_counts(report).values()) == {(1, 1, 0)}
    assert report.rejects is None
    assert not (tmp_path / "rejects.jsonl").exists()
    assert _same(read_snapshot(_config(tmp_path)), _log(*EVENTS))


def test_ranklens_is_read_as_it_is_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    first = import_events(
        _config(tmp_path),
        [RANKLENS],
        rejects=tmp_path / "rejects.jsonl",
        progress=lambda done, total: shown.append((done, total)),
    )
    assert _counts(first) == {
        "items": (2_512, 2_512, 0),
        "users": (0, 0, 0),
        "impressions": (9_800, 9_800, 0),
        "interactions": (46_125, 46_125, 0),
    }
    assert (first.n_rejected, first.broken) == (0, {})
    size = RANKLENS.stat().st_size
    assert shown == sorted(shown)
    assert len(shown) > 10
    assert shown[-1] == (size, size)
    before = read_snapshot(_config(tmp_path))
    second = _run(tmp_path, RANKLENS)
    assert _counts(second)["interactions"] == (46_125, 0, 46_125)
    assert _same(read_snapshot(_config(tmp_path)), before)
    assert set(before.impressions["item_ids"].list.len()) == {24}


def test_bad_records_are_set_aside_with_line_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    ahead = InteractionEvent("late", time.time_ns() // 1000 + 3_600_000_000, "u", "i", "click")
    bad = [
        b"{broken",
        b"\xff\xfe",
        b'{"event_id":"","occurred_at":1,"item":{"item_id":"i"}}',
        encode_event(ahead),
        b'{"event":"ranking","id":"r","timestamp":"1","items":[]}',
        b'{"event":"mystery","id":"r","timestamp":"1"}',
        b'{"event_id":"e","occurred_at":1,"item":{"item_id":"' + b"x" * 5_000 + b'"}}',
    ]
    file.write_bytes(b"\n".join([encode_event(EVENTS[0]), *bad, encode_event(EVENTS[3])]))
    report = _run(tmp_path, file)
    assert report.n_rejected == len(bad)
    assert report.rejected["is not JSON"] == 2
    assert report.examples["is not JSON"] == "events.jsonl, line 2"
    assert report.examples["is empty; expected an id"] == "events.jsonl, line 4: event_id"
    assert (report.first_at, report.last_at) == (EVENTS[0].occurred_at, EVENTS[3].occurred_at)
    assert report.rejects == tmp_path / "rejects.jsonl"
    rejected = [json.loads(line) for line in report.rejects.read_bytes().splitlines()]
    assert [line["line"] for line in rejected] == list(range(2, 2 + len(bad)))
    assert {line["source"] for line in rejected} == {str(file)}
    assert "clock ahead" in rejected[3]["reason"]
    assert rejected[4]["reason"].startswith("item_ids: is empty")
    assert "mystery" in rejected[5]["reason"]
    assert rejected[0]["raw"] == "{broken"
    assert len(rejected[-1]["raw"]) == 2_000
    assert _same(read_snapshot(_config(tmp_path)), _log(EVENTS[0], EVENTS[3]))


def test_a_line_without_end_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 1_000)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"{" + b" " * 600_000 + b"\n" + _lines(EVENTS[0]))
    report = _run(tmp_path, file)
    assert report.n_rejected == 1
    assert "too long" in next(iter(report.rejected))
    assert report.kinds["items"].new == 1


def test_strict_stops_at_the_first_bad_record_and_keeps_nothing_of_its_batch(
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(_lines(EVENTS[0]) + b"{broken\n" + _lines(EVENTS[1]))
    with pytest.raises(ImportStoppedError, match=r"events\.jsonl, line 2: is not JSON"):
        _run(tmp_path, file, strict=True)
    assert _same(read_snapshot(_config(tmp_path)), _log())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "log.duckdb"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_cut_off_file_is_reported_and_what_came_before_is_kept(tmp_path: Path, pack) -> None:
    events = [InteractionEvent(f"e{n}", n, f"u{n * n}", "i", "click") for n in range(20_000)]
    cut, whole = tmp_path / "a", tmp_path / "b"
    packed = pack(_lines(*events))
    cut.write_bytes(packed[: len(packed) // 2])
    whole.write_bytes(_lines(EVENTS[0]))
    report = _run(tmp_path, cut, whole)
    assert list(report.broken) == [cut]
    assert "cut off" in report.broken[cut]
    assert 0 < report.kinds["interactions"].new < 20_000
    assert report.kinds["items"].new == 1
    with pytest.raises(ImportStoppedError, match="cut off"):
        _run(tmp_path, cut, strict=True)
    cut.write_bytes(packed)
    _run(tmp_path, cut)
    assert read_snapshot(_config(tmp_path)).interactions.height == 20_000


def test_a_folder_is_imported_in_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.jsonl").write_bytes(_lines(ItemEvent("e", 2, "second")))
    (folder / "a.jsonl").write_bytes(_lines(ItemEvent("e", 1, "first")))
    (folder / "sub" / "c.jsonl").write_bytes(_lines(EVENTS[3]))
    (folder / ".hidden").write_bytes(b"not events")
    report = _run(tmp_path, folder)
    log = read_snapshot(_config(tmp_path))
    assert log.items["item_id"].to_list() == ["first"]
    assert _counts(report)["items"] == (2, 1, 1)
    assert report.n_rejected == 0
    assert log.interactions.height == 1


def test_a_missing_source_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        _run(tmp_path, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match="a folder without files"):
        _run(tmp_path, tmp_path / "empty")
    assert not (tmp_path / "log.duckdb").exists()


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert set(_counts(_run(tmp_path, tmp_path / "a")).values()) == {(0, 0, 0)}


def test_parquet_of_every_kind_is_recognised_by_its_columns(tmp_path: Path) -> None:
    at = [datetime(2021, 11, 15, tzinfo=UTC)]
    us = 1_636_934_400_000_000
    folder = tmp_path / "in"
    folder.mkdir()
    pl.DataFrame({
        "event_id": [1],
        "occurred_at": at,
        "item_id": [7],
        "title": ["x"],
        "year": [2001],
        "tags": [["a"]],
        "gone": pl.Series([None], dtype=pl.String),
    }).write_parquet(folder / "items")
    pl.DataFrame({
        "event_id": ["e2"],
        "occurred_at": [us],
        "user_id": ["u"],
        "attributes": ['{"country":"fr"}'],
    }).write_parquet(folder / "users")
    pl.DataFrame({
        "event_id": ["e3"],
        "occurred_at": pl.Series(at).dt.cast_time_unit("ms").dt.replace_time_zone(None),
        "user_id": ["u"],
        "item_ids": [["7", "8"]],
        "item_attributes": ['{"7":{"bid":1}}'],
        "device": ["tv"],
    }).write_parquet(folder / "impressions")
    pl.DataFrame({
        "event_id": ["e4"],
        "occurred_at": ["2021-11-15T00:00:00Z"],
        "user_id": ["u"],
        "item_id": ["7"],
        "type": pl.Series(["click"], dtype=pl.Categorical),
        "impression_id": ["e3"],
        "value": [3],
        "attributes": [{"pos": 1, "none": None}],
    }).write_parquet(folder / "interactions")
    report = _run(tmp_path, folder)
    assert report.broken == {}
    assert report.n_rejected == 0
    expected = _log(
        ItemEvent("1", us, "7", {"title": "x", "year": 2001.0, "tags": ["a"]}),
        UserEvent("e2", us, "u", {"country": "fr"}),
        ImpressionEvent("e3", us, "u", ["7", "8"], "e3", "", {"device": "tv"}, {"7": {"bid": 1.0}}),
        InteractionEvent("e4", us, "u", "7", "click", "e3", "", 3.0, {"pos": 1.0}),
    )
    assert _same(read_snapshot(_config(tmp_path)), expected)


def test_bad_parquet_rows_are_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "users"
    pl.DataFrame({
        "event_id": ["a", None, "c", "d"],
        "occurred_at": [1, 2, None, 4],
        "user_id": ["u", "u", "u", "u"],
        "score": [1.0, 1.0, 1.0, float("nan")],
    }).write_parquet(file)
    report = _run(tmp_path, file)
    assert (report.kinds["users"].new, report.n_rejected) == (1, 3)
    lines = (tmp_path / "rejects.jsonl").read_bytes().splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [line["line"] for line in rejected] == [2, 3, 4]
    assert json.loads(rejected[1]["raw"])["user_id"] == "u"


@pytest.mark.parametrize(
    "columns",
    [
        {"occurred_at": [1], "page": ["x"]},
        {"event_id": ["e"], "occurred_at": [1], "page": ["x"]},
        {"event_id": ["e"], "occurred_at": [[1]], "user_id": ["u"]},
    ],
)
def test_parquet_of_no_kind_is_reported(tmp_path: Path, columns: dict[str, list[object]]) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame(columns).write_parquet(file)
    assert list(_run(tmp_path, file).broken) == [file]
    file.write_bytes(file.read_bytes()[:-20])
    assert list(_run(tmp_path, file).broken) == [file]


KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.config import LogConfig
from recsys.events import importing
from recsys.events.warehouse import Warehouse

importing._BATCH_EVENTS = 1_000
moment, countdown = sys.argv[4], int(sys.argv[5])

def after(call):
    def wrapped(*arguments):
        global countdown
        result = call(*arguments)
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

if moment == "record":
    importing.check_event = lambda *a, check=after(lambda *a: None), **k: check()
elif moment == "write":
    Warehouse.write = after(Warehouse.write)
elif moment == "commit":
    importing._Import.flush = after(importing._Import.flush)
log, source, rejects = sys.argv[1:4]
importing.import_events(LogConfig(path=log), [Path(source)], rejects=Path(rejects))
"""


@pytest.mark.parametrize(
    ("moment", "countdown"),
    [("record", 1), ("record", 4_500), ("write", 1), ("write", 4), ("commit", 1), ("commit", 9)],
)
def test_a_killed_import_is_completed_by_the_next(
    tmp_path: Path, moment: str, countdown: int
) -> None:
    config, file = _config(tmp_path), tmp_path / "events.jsonl"
    events = [InteractionEvent(f"e{n}", n, "u", "i", "click") for n in range(8_500)]
    file.write_bytes(_lines(*events))
    command = [sys.executable, "-c", KILLED, config.path, str(file), str(tmp_path / "rejects")]
    killed = subprocess.run([*command, moment, str(countdown)], check=False)
    assert killed.returncode == -signal.SIGKILL
    n_before = read_snapshot(config).interactions.height
    assert n_before % 1_000 in {0, 500}
    report = _run(tmp_path, file)
    assert report.kinds["interactions"].known == n_before
    assert _same(read_snapshot(config), _log(*events))


def test_a_long_list_of_reasons_stays_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_MAX_REASONS", 2)
    file = tmp_path / "events.jsonl"
    unknown = b'{"event_id":"e","occurred_at":1,"key%d":1}\n'
    file.write_bytes(b"".join(unknown % n for n in range(5)))
    report = _run(tmp_path, file)
    assert len(report.rejected) == 3
    assert report.rejected["other reasons"] == 3
