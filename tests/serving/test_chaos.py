"""Workers are killed under load: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import random
import shutil
from collections import Counter

from chaos import kill_workers
from test_workers import serving

from recsys.events.merge import merge_spool
from recsys.events.snapshot import read_snapshot
from recsys.serving.client import Client
from recsys.workspace import open_workspace

N_KILLS = 2


def test_killed_workers_lose_nothing_and_double_nothing(plain_workspace, tmp_path):
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    workspace = open_workspace(tmp_path / "w")
    with serving(workspace, "--workers", "2") as (process, address):
        account = kill_workers(process.pid, address, n_kills=N_KILLS, rng=random.Random(1))
        # The last worker to be replaced may still be warming up, on cores that others use too.
        with Client(address, timeout_s=60.0) as client:
            assert client.rank("u1", ["item1"]).item_ids == ["item1"]
    assert account.malformed == []
    assert account.n_ranked > 0
    assert len(account.acknowledged) > 0
    assert sum(account.n_failed.values()) <= account.n_at_risk
    assert set(account.n_failed) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}
    for _ in range(2):
        ids = Counter(read_snapshot(workspace.log_config).interactions["event_id"].to_list())
        assert account.acknowledged <= ids.keys()
        assert set(ids.values()) == {1}
        merge_spool(workspace.log_config)
