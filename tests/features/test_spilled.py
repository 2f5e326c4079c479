"""A log that is read and encoded in pieces reads like one in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from log_strategy import logs
from test_executions_equal import requests, translated

from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.spilled import encode_pieces
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
    log = encode_pieces(pieces, tmp_path_factory.mktemp("columns"))
    assert len(log.recent) == len(encode_log(snapshot).recent)
    spilled = OfflineReader(log, chunk_events=9)
    expected = whole.read_many(AGGREGATES, translated(whole, request))
    read = spilled.read_many(AGGREGATES, translated(spilled, request))
    for aggregate, mine, theirs in zip(AGGREGATES, read, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=aggregate.name)
