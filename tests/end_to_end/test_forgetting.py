"""`recsys events forget` while a server answers: nobody knows the user, everything else agrees."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from recsys.cli.main import cli
from recsys.evaluation.skew import differences, same_request
from recsys.events.snapshot import read_snapshot
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.slates import one_slate
from recsys.pipeline.engine import load_engine
from recsys.pipeline.feature_log import read_feature_log
from recsys.schema import ImpressionEvent, InteractionEvent, UserEvent
from recsys.serving.client import Client
from recsys.serving.server import RunningServer, start_server
from recsys.workspace import Workspace, open_workspace

GONE = "zoe-q7"
CANDIDATES = [f"item{n}" for n in range(20)]


@pytest.fixture
def workspace(
    plain_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    monkeypatch.setenv("RECSYS_SERVING__FEATURE_LOG_SHARE", "1.0")
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    return open_workspace(tmp_path / "w")


@pytest.fixture
def servers(workspace: Workspace) -> Iterator[list[RunningServer]]:
    """Two, which follow each other's spool as workers do."""
    running = [start_server(workspace, port=0) for _ in range(2)]
    yield running
    for server in running:
        server.stop()


def live(client: Client) -> None:
    about = UserEvent("about zoe", 0, GONE, {"country": "nl", "name": "Zoe"})
    client.write_events([about, UserEvent("about ben", 0, "ben", {"country": "nl"})])
    for number in range(6):
        item, name = CANDIDATES[number], f"list {number} of {GONE}"
        shown = ImpressionEvent(name, 0, GONE, [item, "item30"], name, "visit-of-zoe")
        click = InteractionEvent(f"z{number}", 0, GONE, item, "click", name, "visit-of-zoe")
        client.write_events([shown, click])
        client.write_events([InteractionEvent(f"b{number}", 0, "ben", item, "click")])


def forget(workspace: Workspace, *arguments: str) -> dict[str, object]:
    command = ["events", "forget", *arguments, "-w", str(workspace.folder), "--json"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def becomes(holds: Callable[[], bool], within_s: float = 40.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def files_that_name(folder: Path, text: str) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [str(path.relative_to(folder)) for path in paths if text.encode() in path.read_bytes()]


def test_every_server_forgets_and_no_file_names_the_user(workspace, servers) -> None:
    clients = [Client(server.address) for server in servers]
    live(clients[0])
    strangers = clients[0].rank("nobody knows", CANDIDATES).item_ids
    before = {"request_id": "before"}
    for client in clients:
        assert becomes(lambda c=client: c.rank(GONE, CANDIDATES, **before).item_ids != strangers)
    assert files_that_name(workspace.folder, GONE)
    receipt = forget(workspace, GONE)
    assert receipt["users"] == 1
    assert receipt["waiting"] == 0
    assert receipt["rows"] == {"items": 0, "users": 1, "impressions": 6, "interactions": 6}
    assert files_that_name(workspace.folder, GONE) == []
    for client in clients:
        found = client.rank(GONE, CANDIDATES).scores
        assert found == client.rank("nobody knows", CANDIDATES).scores
        assert client.rank("ben", CANDIDATES).item_ids
    assert forget(workspace)["users"] == 0
    # What was served after states were made anew is what the log without the user says.
    assert becomes(lambda: all(s._switch.engine.n_erased == 1 for s in servers))
    for number, client in enumerate(clients):
        client.write_events([InteractionEvent(f"late{number}", 0, "ben", "item9", "click")])
        client.rank("ben", CANDIDATES, request_id="after")
        client.close()
    for server in servers:
        server.stop()
    # Whoever asks by that name afterwards is somebody new.
    assert {name.partition("/")[0] for name in files_that_name(workspace.folder, GONE)} <= {
        "feature_log"
    }
    assert files_that_name(workspace.folder, "visit-of-zoe") == []
    served = read_feature_log(workspace.feature_log, 1_000)
    assert "before" not in {request.request_id for request in served}
    verify = ["features", "verify", "-w", str(workspace.folder), "--json"]
    checked = json.loads(CliRunner().invoke(cli, verify, catch_exceptions=False).stdout)
    assert sum(checked["mismatches"].values()) == 0
    assert checked["n_requests"] >= 1


def test_a_start_after_an_erasure_agrees_with_the_offline_execution(workspace) -> None:
    server = start_server(workspace, port=0)
    with Client(server.address) as client:
        live(client)
    server.stop()
    assert workspace.state.exists()
    receipt = forget(workspace, GONE)
    assert "state" in receipt["removed"]
    engine = load_engine(workspace)
    log = encode_log(read_snapshot(workspace.log_config))
    assert GONE not in log.users.ids
    plan, state = engine._scorer.plan, engine._live.state
    now = engine.last_event_us + 1
    request = one_slate(log.users.row("ben"), now, log.items.rows(CANDIDATES))
    online = plan.matrix(same_request(request, log, state), state, {})
    assert not differences(online, plan.matrix(request, OfflineReader(log), {})).any()
    assert np.isfinite(online[:, plan.names.index("item_actions")]).all()
