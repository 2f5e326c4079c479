"""New lists beside those that a bundle learned from."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from recsys.bundle.store import BundleStore
from recsys.cli.main import cli
from recsys.errors import BundleError
from recsys.evaluation.drift import measure_drift
from recsys.events.importing import import_events
from recsys.events.pieces import StoredLog
from recsys.events.snapshot import read_snapshot
from recsys.workspace import open_workspace


@pytest.fixture(autouse=True)
def without_text(monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')


@pytest.fixture
def copied(plain_workspace, tmp_path):
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    return open_workspace(tmp_path / "w")


def test_columns_of_the_test_slice_are_compared_with_the_slice_before(plain_workspace) -> None:
    found = measure_drift(plain_workspace, read_snapshot(plain_workspace.log_config))
    bundle = BundleStore(plain_workspace.bundles).open()
    assert {shift.feature for shift in found.columns} == set(bundle.manifest.feature_names)
    assert found.n_candidates > found.n_lists > 0
    shifts = [shift.psi for shift in found.columns]
    assert shifts == sorted(shifts, reverse=True)
    assert sum(shift.gain for shift in found.columns) == pytest.approx(1.0)
    by_name = {shift.feature: shift for shift in found.columns}
    assert by_name["item_actions"].plugin == "popularity"
    fewer = measure_drift(plain_workspace, read_snapshot(plain_workspace.log_config), most_lists=3)
    assert fewer.n_lists == 3


def test_a_feed_that_breaks_is_seen(copied, tmp_path) -> None:
    before = measure_drift(copied, StoredLog(copied.log_config))
    number = next(
        shift.feature
        for shift in before.columns
        if shift.plugin == "item_metadata" and not shift.missing_now
    )
    strangers = [
        {
            "event_id": f"n{n}",
            "occurred_at": "2026-01-01T00:00:00Z",
            "impression": {
                "impression_id": f"n{n}",
                "user_id": "user1",
                "item_ids": [f"nobody-{n}-{k}" for k in range(6)],
            },
        }
        for n in range(40)
    ]
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(map(json.dumps, strangers)), encoding="utf-8")
    import_events(copied.log_config, [path], rejects=tmp_path / "rejects.jsonl")
    after = measure_drift(copied, StoredLog(copied.log_config), most_lists=40)
    shift = next(found for found in after.columns if found.feature == number)
    assert (shift.missing_then, shift.missing_now) == (0.0, 1.0)
    assert shift.psi > 2
    command = ["features", "drift", "-w", str(copied.folder), "--lists", "40"]
    result = CliRunner().invoke(cli, [*command, "--above", "1"])
    assert result.exit_code == 1
    assert "columns have shifted" in result.stdout
    told = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert told["columns"][0]["psi"] == pytest.approx(after.columns[0].psi)


def test_a_bundle_of_before_is_named(copied, monkeypatch) -> None:
    store = BundleStore(copied.bundles)
    (store.open().path / "spreads.json").unlink()
    monkeypatch.setattr(BundleStore, "open", lambda self, version=None: opened)
    opened = type("Opened", (), {"path": copied.bundles / store.active()})()
    with pytest.raises(BundleError, match=r"no spreads.json; expected a bundle that was trained"):
        measure_drift(copied, StoredLog(copied.log_config))
