"""Files that were changed behind our back: refused by name, or read whole; never silently short."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_inputs import mutated, n_inputs

from recsys.bundle.store import BundleStore
from recsys.config import LogConfig
from recsys.errors import BundleError, LogError, RankingError, RecsysError, SpoolDamagedError
from recsys.events.merge import merge_spool
from recsys.events.snapshot import read_snapshot
from recsys.events.spool import SpoolWriter, read_spool, spool_files
from recsys.events.spool_tail import read_spool_tail
from recsys.ranking.forest import parse_forest
from recsys.schema import InteractionEvent, VisibleEvent


def events(n):
    return [
        VisibleEvent(InteractionEvent(f"e{i}", i + 1, f"u{i}", "推荐 \n\0", "click"), i + 1)
        for i in range(n)
    ]


def test_a_changed_spool_is_detected_or_lost_no_more_than_a_torn_end(tmp_path):
    written = events(12)
    writer = SpoolWriter(tmp_path / "spool")
    writer.append(written)
    writer.sync()
    writer.close()
    [path] = spool_files(tmp_path / "spool")
    original = path.read_bytes()
    n_detected = 0
    for seed in range(n_inputs(400)):
        changed = mutated(original, random.Random(f"spool/{seed}"))
        path.write_bytes(changed)
        try:
            found = list(read_spool(tmp_path / "spool"))
        except SpoolDamagedError:
            n_detected += 1
            with pytest.raises(SpoolDamagedError):
                read_spool_tail(tmp_path / "spool", 7, 1)
            continue
        # A torn end has no acknowledged record: its writer has not synced a line without an end.
        whole = changed[: changed.rfind(b"\n") + 1]
        known = {v.event.event_id for v in written}
        assert len(found) == whole.count(b"\n"), f"seed {seed}"
        assert {v.event.event_id for v in found} <= known, f"seed {seed}"
        assert all(v in written for v in found), f"seed {seed}"
        tail = read_spool_tail(tmp_path / "spool", 7, 1)
        assert tail.recent == [v for v in found if v.visible_at >= 7], f"seed {seed}"
        older = [v.event.event_id for v in found if v.visible_at < 7]
        assert sorted(tail.older["interactions"]) == sorted(older), f"seed {seed}"
    assert n_detected > 0


def test_a_changed_log_is_refused_or_read_whole(plain_workspace, tmp_path):
    path = tmp_path / "log.duckdb"
    config = LogConfig(path=str(path))
    original = Path(plain_workspace.log_config.path).read_bytes()
    path.write_bytes(original)
    whole = read_snapshot(config)
    for seed in range(n_inputs(15)):
        rng = random.Random(f"log/{seed}")
        changed = bytearray(original)
        if rng.random() < 0.7:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        else:
            del changed[rng.randrange(len(changed)) :]
        path.write_bytes(changed)
        try:
            found = read_snapshot(config)
        except LogError:
            continue
        assert found.interactions.equals(whole.interactions), f"seed {seed}"
        assert found.impressions.equals(whole.impressions), f"seed {seed}"
        assert found.items.height == whole.items.height, f"seed {seed}"


#: A merge that is killed when its rows are committed, and in the file's write-ahead log alone.
KILLED_MERGE = """
import os, sys
from recsys.config import LogConfig
from recsys.events import merge
from recsys.events.warehouse import Warehouse
Warehouse.checkpoint = lambda _: os._exit(9)
merge.merge_spool(LogConfig(path=sys.argv[1]))
"""


def test_a_changed_write_ahead_log_hides_nothing(tmp_path):
    folder = tmp_path / "as it was left"
    config = LogConfig(path=str(folder / "log.duckdb"))
    for first in (0, 60):
        writer = SpoolWriter(folder / "log.duckdb.spool")
        writer.append(events(120)[first : first + 60])
        writer.close()
        if not first:
            merge_spool(config)
    killed = subprocess.run([sys.executable, "-c", KILLED_MERGE, config.path], check=False)
    assert killed.returncode == 9
    original = (folder / "log.duckdb.wal").read_bytes()
    for seed in range(n_inputs(12)):
        rng = random.Random(f"wal/{seed}")
        changed = mutated(original, rng) if seed % 2 else original[: rng.randrange(len(original))]
        shutil.rmtree(tmp_path / "w", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "w")
        (tmp_path / "w" / "log.duckdb.wal").write_bytes(changed)
        found = LogConfig(path=str(tmp_path / "w" / "log.duckdb"))
        try:
            assert_holds(found, 120, seed)
            merge_spool(found)
        except LogError:
            continue
        assert_holds(found, 120, seed)


def assert_holds(config, n, seed):
    ids = read_snapshot(config).interactions["event_id"].to_list()
    assert sorted(ids) == sorted(f"e{i}" for i in range(n)), f"seed {seed}"


@pytest.fixture(scope="module")
def store(plain_workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundles"
    shutil.copytree(plain_workspace.bundles, folder)
    return BundleStore(folder)


def test_a_changed_bundle_is_refused_with_its_name(store):
    bundle = store.open()
    files = sorted(p for p in bundle.path.rglob("*") if p.is_file() and p.name != "manifest.json")
    for seed in range(n_inputs(60)):
        rng = random.Random(f"bundle/{seed}")
        path = rng.choice(files)
        original = path.read_bytes()
        changed = mutated(original, rng)
        path.write_bytes(changed)
        try:
            if changed == original:
                store.open()
                continue
            with pytest.raises(BundleError):
                store.open()
        finally:
            path.write_bytes(original)
    assert store.open().manifest == bundle.manifest


def test_a_changed_manifest_is_refused_or_says_the_same_of_every_file(store):
    bundle = store.open()
    path = bundle.path / "manifest.json"
    original = path.read_bytes()
    try:
        for seed in range(n_inputs(150)):
            path.write_bytes(mutated(original, random.Random(f"manifest/{seed}")))
            try:
                found = store.open()
            except RecsysError:
                continue
            assert found.manifest.files == bundle.manifest.files, f"seed {seed}"
    finally:
        path.write_bytes(original)


def test_a_changed_ranker_text_is_read_or_refused_and_never_crashes(store):
    original = (store.open().path / "ranker.txt").read_bytes()
    for seed in range(n_inputs(60)):
        text = mutated(original, random.Random(f"ranker/{seed}")).decode("utf-8", "replace")
        try:
            forest = parse_forest(text)
        except RankingError:
            continue
        assert len(forest.leaf_values) == forest.leaf_offsets[-1], f"seed {seed}"
