"""A search finds settings, keeps its study, and goes on with it."""

from __future__ import annotations

import json
import tomllib

from recsys.cli.workspace import make_workspace
from recsys.config import load_config
from recsys.events.codec import encode_event
from recsys.events.importing import import_events
from recsys.events.snapshot import read_snapshot
from recsys.training.tuning import tune
from recsys.workspace import open_workspace


def test_a_search_begins_with_what_is_configured_and_goes_on(world, thin_encoder, tmp_path):
    folder = tmp_path / "w"
    path = make_workspace(folder, clock="log")
    start = path.read_text()
    path.write_text(start + f'\n[interest]\nencoder = {json.dumps(thin_encoder)}\ndevice = "cpu"\n')
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join(encode_event(v.event) + b"\n" for v in world.events))
    workspace = open_workspace(folder)
    import_events(workspace.log_config, [events], rejects=folder / "rejects.jsonl")
    snapshot = read_snapshot(workspace.log_config)
    first = tune(workspace, snapshot, lambda *_: None, n_trials=2)
    assert first.n_trials == 2
    assert 0 < first.default <= first.best <= 1
    again = tune(workspace, snapshot, lambda *_: None, n_trials=1)
    assert again.n_trials == 3
    assert again.default == first.default
    assert again.best >= first.best
    # What it says can be put into the configuration as it is.
    path.write_text(start + "\n" + again.toml() + "\n")
    assert tomllib.loads(path.read_text())["interest"]["tuning"]["dropout"] >= 0
    assert load_config(folder).interest.epochs >= 1
