"""What was served is what the log says: rank, click, rank over gRPC, then every value anew."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.cli.main import cli
from recsys.evaluation.served import (
    CHANGED,
    DEGRADED,
    ERASED,
    GONE,
    LATE,
    check_served,
)
from recsys.events.pieces import StoredLog
from recsys.pipeline.feature_log import FeatureLog, read_feature_log
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.server import start_server
from recsys.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def served(plain_workspace, tmp_path_factory) -> Workspace:
    """A workspace whose server answered forty requests while users clicked."""
    folder = tmp_path_factory.mktemp("served") / "w"
    shutil.copytree(plain_workspace.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
        patch.setenv("RECSYS_SERVING__FEATURE_LOG_SHARE", "1.0")
        workspace = open_workspace(folder)
        server = start_server(workspace, port=0)
        try:
            with Client(server.address) as client:
                talk(client)
        finally:
            server.stop()
    return workspace


def talk(client: Client) -> None:
    items = [f"item{n}" for n in range(30)]
    for number in range(20):
        user = ["user1", "newcomer", ""][number % 3]
        asked = [*items, "never heard of"]
        said = {"relevancy": [None if n % 5 == 0 else n / 10 for n in range(len(asked))]}
        if number % 4 == 0:
            said = {"relevancy": {"item3": 0.25, "item4": -1.0}, "badge": ["new"] * len(asked)}
        if number % 4 == 1:
            said = {"relevancy": ["text"] * len(asked)}
        seeds = ["item7"] if number % 7 == 0 else []
        ranked = client.rank(
            user,
            asked,
            request_id=f"r{number}",
            candidate_attributes=said,
            seed_item_ids=seeds,
        )
        click = InteractionEvent(f"k{number}", 0, user or "user2", ranked.item_ids[0], "click")
        client.write_events([click])
        some = {"relevancy": {"item1": 3.0, "item2": 4.0}}
        more = [f"item{number}", "never heard of", "item2"] if number % 3 else []
        client.recommend(
            user,
            top_k=5,
            request_id=f"f{number}",
            candidate_attributes=some,
            seed_item_ids=more,
        )


def verify(workspace: Workspace, *arguments: str, status: int = 0) -> str:
    command = ["features", "verify", "-w", str(workspace.folder), *arguments]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.fixture
def copied(served, tmp_path, monkeypatch) -> Workspace:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    shutil.copytree(served.folder, tmp_path / "w")
    return open_workspace(tmp_path / "w")


def test_everything_that_was_served_is_what_the_log_says(copied) -> None:
    found = json.loads(verify(copied, "--json"))
    assert found["n_requests"] == 40
    assert sum(found["mismatches"].values()) == 0
    assert found["skipped"] == {}
    assert found["n_values"] > 40 * 20 * 20
    assert "0 mismatches" in verify(copied)


def test_a_request_that_was_served_is_shown_as_it_was(copied) -> None:
    def show(*arguments: str, status: int = 0) -> str:
        command = ["features", "served", *arguments, "-w", str(copied.folder)]
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    listed = json.loads(show("--json"))
    assert len(listed) == 20
    assert [row["as_of"] for row in listed] == sorted((r["as_of"] for r in listed), reverse=True)
    mine = json.loads(show("--user", "newcomer", "--json"))
    assert {row["user_id"] for row in mine} == {"newcomer"}
    found = json.loads(show("f4", "--explain", "2", "--json"))
    assert found["seed_item_ids"] == ["item4", "item2"]
    assert found["scores"] == sorted(found["scores"], reverse=True)
    best = found["explanations"]
    assert [one["item_id"] for one in best] == found["item_ids"][:2]
    total = best[0]["base"] + sum(part["contribution"] for part in best[0]["contributions"])
    assert total == pytest.approx(found["scores"][0], abs=1e-5)
    text = show("r7", "--item", "item3")
    assert "seeds: ['item7']" in text
    assert "Why item3" in text
    assert "request" in show()
    show("no such request", status=2)
    show("r7", "--item", "no candidate", status=2)


def test_what_callers_say_of_candidates_reaches_the_ranker_and_the_feature_log(copied) -> None:
    requests = {r.request_id: r for r in read_feature_log(copied.feature_log, 40)}
    expected = {
        "r2": [None if n % 5 == 0 else n / 10 for n in range(31)],
        "r4": [{3: 0.25, 4: -1.0}.get(n) for n in range(31)],
        "r5": [None] * 31,  # texts where the log has numbers
        "f0": [{"item1": 3.0, "item2": 4.0}.get(item) for item in requests["f0"].item_ids],
    }
    for name, values in expected.items():
        request = requests[name]
        column = request.matrix[:, request.features.index("candidate.relevancy")]
        wanted = np.array([np.nan if v is None else v for v in values], dtype=np.float32)
        np.testing.assert_array_equal(column, wanted)


def test_one_wrong_value_is_one_mismatch_by_name(copied) -> None:
    path = next(copied.feature_log.glob("*.parquet"))
    frame = pl.read_parquet(path)
    features, values = frame["features"][0].to_list(), frame["values"].to_list()
    column = features.index("item_actions")
    values[0][len(features) * 3 + column] += 1.0
    frame.with_columns(pl.Series("values", values, dtype=pl.List(pl.Float32))).write_parquet(path)
    found = json.loads(verify(copied, "--json", status=1))
    assert {name: n for name, n in found["mismatches"].items() if n} == {"item_actions": 1}
    assert found["examples"][0]["request_id"] == "r0"
    assert found["examples"][0]["item_id"] == frame["item_ids"][0][3]
    text = verify(copied, status=1)
    assert "  item_actions: 1\n" in text
    assert "1 mismatches in" in text


def test_requests_that_cannot_be_compared_are_counted_with_the_reason(copied) -> None:
    requests = read_feature_log(copied.feature_log, 40)
    requests[0] = replace(requests[0], model_version="20200101T000000Z-gone")
    requests[1] = replace(requests[1], is_degraded=True)
    requests[2] = replace(requests[2], n_events=requests[2].n_events - 1)
    requests[3] = replace(requests[3], plugins="of another day")
    requests[4] = replace(requests[4], n_events=requests[4].n_events + 1)
    found = check_served(copied, StoredLog(copied.log_config, n_events=50), requests)
    assert found.skipped == {GONE: 1, DEGRADED: 1, LATE: 1, ERASED: 1, CHANGED: 1}
    assert found.n_requests == 35
    assert found.n_mismatches == 0


def test_a_request_before_events_on_their_way_is_compared_without_them(copied) -> None:
    """As when events had become visible and their fsync was not done yet."""
    log = StoredLog(copied.log_config, n_events=50)
    requests = {request.request_id: request for request in read_feature_log(copied.feature_log, 40)}
    later = requests["f19"]
    behind = replace(requests["f17"], as_of=later.as_of)
    found = check_served(copied, log, [behind])
    assert found.n_requests == 1
    changed = {name for name, n in found.mismatches.items() if n}
    # Only what depends on the time of the request may differ, and no count.
    assert all(name.endswith(("_s", "_heat", "age_s")) for name in changed), changed


def test_where_nothing_can_be_compared_the_status_says_so(copied) -> None:
    shutil.rmtree(copied.bundles)
    text = verify(copied, status=2)
    assert f"40 requests skipped: {GONE}" in text


def test_the_log_is_replayed_on_request_and_where_nothing_was_served(copied) -> None:
    assert "40 replayed requests" in verify(copied, "--replay", "--requests", "40")
    shutil.rmtree(copied.feature_log)
    assert "40 replayed requests" in verify(copied, "--requests", "40")


def test_a_share_is_drawn_and_the_oldest_files_go(served, tmp_path) -> None:
    request = read_feature_log(served.feature_log, 1)[0]
    log = FeatureLog(tmp_path / "log", 0.25, 1, random.Random(7))
    assert 150 < sum(log.draw() for _ in range(1000)) < 350
    log.put(request)
    log.close()
    again = FeatureLog(tmp_path / "log", 1.0, 1, random.Random(7))
    again.put(replace(request, as_of=request.as_of + 1))
    again.close()
    kept = read_feature_log(tmp_path / "log", 10)
    assert [one.as_of for one in kept] == [request.as_of + 1]
    np.testing.assert_array_equal(kept[0].matrix, request.matrix)
    assert not list((tmp_path / "log").glob("*.partial"))


def test_a_disk_that_refuses_costs_samples_and_nothing_else(served, tmp_path) -> None:
    request = read_feature_log(served.feature_log, 1)[0]
    log = FeatureLog(tmp_path / "log", 1.0, 1_000_000, random.Random(7))
    shutil.rmtree(tmp_path / "log")
    log.put(request)
    log.close()
    assert log.n_dropped == 1
