"""A state on disk goes on as if it had never stopped; a damaged one is refused."""

from __future__ import annotations

import numpy as np
import pytest
from aggregate_oracle import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_strategy import logs
from test_executions_equal import HISTORIES, every_fold, requests, translated

from recsys.errors import CheckpointError
from recsys.events.replay import visible_events
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.checkpoint import load_state, save_state
from recsys.features.online import OnlineState
from recsys.features.vocabulary import count

KEYS = ["user", "session*item.genres", "context.query*item", "user.country"]
AGGREGATES = [*(a for by in KEYS for a in every_fold(by)), *HISTORIES]
CLICKS = count("clicks", "click", by="item")


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(found=logs(), request=requests, share=st.floats(0, 1), gone=st.sampled_from(["", "u1"]))
def test_a_restart_changes_nothing(tmp_path, found, request: Request, share, gone) -> None:
    due = [v for v in visible_events(snapshot_of(found)) if v.visible_at < request.as_of]
    half = int(len(due) * share)
    running = OnlineState(encode_log(snapshot_of(due[: half // 2])), AGGREGATES)
    running.apply(due[half // 2 : half])
    running.forget_user(gone)
    save_state(running, AGGREGATES, tmp_path / "state", {"seen": np.arange(3)})
    restarted, extra = load_state(AGGREGATES, tmp_path / "state")
    assert extra["seen"].tolist() == [0, 1, 2]
    for state in (running, restarted):
        state.apply(due[half:])
    for aggregate in AGGREGATES[: -len(HISTORIES)]:
        columns = [s.read(aggregate, translated(s, request)) for s in (restarted, running)]
        np.testing.assert_array_equal(*columns, err_msg=f"{aggregate.name} by {aggregate.by}")
    for aggregate in HISTORIES:
        pair = [s.histories(aggregate, translated(s, request)) for s in (restarted, running)]
        np.testing.assert_array_equal(pair[0].versions, pair[1].versions)
        np.testing.assert_array_equal(pair[0].ages_s, pair[1].ages_s)


@pytest.fixture
def saved(tmp_path, world):
    state = OnlineState(encode_log(snapshot_of(world.events)), [CLICKS])
    save_state(state, [CLICKS], tmp_path / "state", {})
    return tmp_path / "state"


def test_a_missing_state_is_an_error_that_says_so(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no state.json; expected a state that was saved"):
        load_state([CLICKS], tmp_path)


def test_a_state_of_other_aggregates_is_refused(saved) -> None:
    with pytest.raises(CheckpointError, match="other aggregates"):
        load_state([CLICKS, count("shows", "impression", by="item")], saved)


def test_every_flipped_byte_of_the_cells_is_noticed(saved) -> None:
    path = saved / "state.cells"
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 20).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="other bytes than were written"):
            load_state([CLICKS], saved)


def test_saving_again_replaces_the_state(saved, world) -> None:
    state, _ = load_state([CLICKS], saved)
    save_state(state, [CLICKS], saved, {"n": np.array([7])})
    assert load_state([CLICKS], saved)[1]["n"].tolist() == [7]
    assert [p.name for p in saved.parent.iterdir()] == ["state"]
