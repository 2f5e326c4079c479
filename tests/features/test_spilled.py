"""A log that is read and encoded in pieces reads like one in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from log_strategy import logs
from test_executions_equal import requests, translated

from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.spilled import GrowingColumns, let_go
from recsys.features.vocabulary import count, distinct, since_last, total

#: What pieces could break: versions, sessions, contexts of earlier impressions, windows.
AGGREGATES = [
    count("genres", "*", by="user*item.genres"),
    count("session", "*", by="session"),
    count("sessions", "session", by="user", window_s=36.0),
    total("query", ("click", "buy"), by="context.query*item"),
    since_last("country", "impression", by="user.country"),
    distinct("users", "*", by="item", what="user", window_s=24.0),
]


@dataclass
class Pieces:
    """A log on disk that is cut where the test says."""

    parts: list[LogSnapshot]
    scratch: Path

    def pieces(self):
        yield from self.parts


def cut_in_two(snapshot: LogSnapshot, at: int) -> list[LogSnapshot]:
    tables = {name: getattr(snapshot, name) for name in KINDS}
    return [
        LogSnapshot(**{n: f.filter((f["visible_at"] < at) == before) for n, f in tables.items()})
        for before in (True, False)
    ]


@settings(max_examples=10, deadline=None)
@given(found=logs(), request=requests, share=st.floats(0, 1))
def test_pieces_read_like_the_whole(found, request, share, tmp_path_factory) -> None:
    snapshot = snapshot_of(found)
    instants = sorted(visible.visible_at for visible in found) or [0]
    pieces = cut_in_two(snapshot, instants[int(share * (len(instants) - 1))])
    whole = OfflineReader(encode_log(snapshot))
    log = encode_log(Pieces(pieces, tmp_path_factory.mktemp("columns")))
    assert len(log.recent) == len(encode_log(snapshot).recent)
    spilled = OfflineReader(log, chunk_events=9)
    expected = whole.read_many(AGGREGATES, translated(whole, request))
    read = spilled.read_many(AGGREGATES, translated(spilled, request))
    for aggregate, mine, theirs in zip(AGGREGATES, read, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=aggregate.name)


def test_files_of_columns_leave_no_trace(tmp_path) -> None:
    columns = GrowingColumns({"n": np.int32, "x": np.float64}, tmp_path)
    for start in (0, 3):
        rows = np.arange(start, start + 3)
        columns.append({"n": rows, "x": rows / 2})
    assert not list(tmp_path.iterdir())
    found = columns.finish()
    assert found["n"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["x"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert {name: column.dtype for name, column in found.items()} == {"n": "int32", "x": "float64"}
    nothing = GrowingColumns({"n": np.int32}, tmp_path).finish()
    assert len(nothing["n"]) == 0


def mapped_kb(path_part: str) -> int:
    """Add up what this process holds of files whose name has a part."""
    held, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            is_it = path_part in line
        elif is_it and line.startswith("Rss:"):
            held += int(line.split()[1])
    return held


def test_pages_that_were_read_can_be_let_go_and_read_again(tmp_path) -> None:
    columns = GrowingColumns({"n": np.int64}, tmp_path)
    columns.append({"n": np.arange(200_000)})
    found = columns.finish()["n"]
    assert found.sum() == 199_999 * 100_000
    assert mapped_kb(str(tmp_path)) > 1_000
    let_go(found[7:9])
    assert mapped_kb(str(tmp_path)) < 200
    assert found.sum() == 199_999 * 100_000


def test_nothing_is_let_go_of_that_no_file_holds(tmp_path) -> None:
    private = np.memmap(tmp_path / "n", np.int64, "w+", shape=(1000,))
    private.flush()
    copied = np.memmap(tmp_path / "n", np.int64, "c")
    copied[:] = 5
    for column in (copied, copied[3:], np.full(4, 5)):
        let_go(column)
        assert set(column.tolist()) == {5}
