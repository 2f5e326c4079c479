"""Forgetting a user: the state is then that of a log in which the same events name nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from aggregate_oracle import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from log_strategy import logs
from test_executions_equal import every_fold, requests, translated

from recsys.events.replay import visible_events
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.features.vocabulary import last_items
from recsys.schema import ImpressionEvent, InteractionEvent, UserEvent, VisibleEvent

#: Keys whose cells an erasure can set right at once (docs/features.md).
KEYS = ["global", "item", "user", "item.genres", "context.query*item", "user*item.genres"]
HISTORY = last_items("history", "*", n=4, by="user")


def without_sessions(events: list[VisibleEvent]) -> list[VisibleEvent]:
    kept = []
    for visible in events:
        event = visible.event
        if isinstance(event, ImpressionEvent | InteractionEvent):
            event = replace(event, session_id="")
        kept.append(VisibleEvent(event, visible.visible_at))
    return kept


def anonymised(events: list[VisibleEvent], user_id: str) -> list[VisibleEvent]:
    kept = []
    for visible in events:
        event = visible.event
        if isinstance(event, UserEvent) and event.user_id == user_id:
            continue
        if isinstance(event, ImpressionEvent | InteractionEvent) and event.user_id == user_id:
            event = replace(event, user_id="")
        kept.append(VisibleEvent(event, visible.visible_at))
    return kept


@settings(max_examples=40, deadline=None)
@given(
    found=logs().map(without_sessions),
    request=requests,
    share=st.floats(0, 1),
    gone=st.sampled_from(["u1", "u2"]),
)
def test_a_forgotten_user_was_never_there(found, request: Request, share, gone) -> None:
    # How many sessions there were in all stays: a start is no event that could lose its name.
    folds = [a for by in KEYS for a in every_fold(by) if a.of != ("session",) or by == "user"]
    aggregates = [*folds, HISTORY]
    due = [v for v in visible_events(snapshot_of(found)) if v.visible_at < request.as_of]
    half = int(len(due) * share)
    state = OnlineState(encode_log(snapshot_of([])), aggregates)
    state.apply(due[:half])
    state.forget_user(gone)
    state.apply(due[half:])
    log = [*anonymised(due[:half], gone), *due[half:]]
    expected = OnlineState(encode_log(snapshot_of([])), aggregates)
    expected.apply(log)
    for aggregate in aggregates[:-1]:
        columns = [s.read(aggregate, translated(s, request)) for s in (state, expected)]
        name = f"{aggregate.name} by {aggregate.by}"
        np.testing.assert_allclose(*columns, rtol=1e-9, atol=1e-6, err_msg=name)
    histories = [s.histories(HISTORY, translated(s, request)) for s in (state, expected)]
    np.testing.assert_array_equal(histories[0].types, histories[1].types)
    np.testing.assert_array_equal(histories[0].ages_s, histories[1].ages_s)
