"""What the bundle store promises: whole bundles or none, and no damaged byte gets past `open`."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    LogFacts,
    ManifestDraft,
    PluginVersion,
    read_manifest,
)
from recsys.bundle.store import BundleStore
from recsys.errors import BundleError

LOG = LogFacts(
    n_items=3,
    n_users=2,
    n_impressions=5,
    n_interactions=7,
    first_at=1,
    last_at=1_700_000_000_000_000,
)


def draft(**changes) -> ManifestDraft:
    values = {
        "log": LOG,
        "config": {"seed": 17, "ranker": {"trees": 500, "learning_rate": 0.05}, "names": ["a"]},
        "plugins": (PluginVersion("popularity", "0.1.0"),),
        "feature_names": ("clicks", "age_s"),
        "metrics": {"ndcg@10": 0.61, "auc": 0.7},
    }
    return ManifestDraft(**(values | changes))


def write_small(folder: Path) -> ManifestDraft:
    (folder / "ranker.txt").write_text("tree\nversion=v4\n")
    (folder / "models" / "interest").mkdir(parents=True)
    (folder / "models" / "interest" / "weights.safetensors").write_bytes(bytes(range(200)))
    return draft()


@pytest.fixture
def store(tmp_path) -> BundleStore:
    return BundleStore(tmp_path / "bundles")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> tuple[BundleStore, str]:
    store = BundleStore(tmp_path_factory.mktemp("shared"))
    return store, store.publish(write_small)


def all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_published_is_opened(store):
    version = store.publish(write_small)
    bundle = store.open(version)
    assert bundle.path == store.folder / version
    assert bundle.manifest.version == version
    assert bundle.manifest.log == LOG
    assert bundle.manifest.feature_names == ("clicks", "age_s")
    assert bundle.manifest.config["ranker"] == {"trees": 500, "learning_rate": 0.05}
    assert sorted(bundle.manifest.files) == ["models/interest/weights.safetensors", "ranker.txt"]
    assert bundle.manifest.files["ranker.txt"].size == 16
    assert json.loads((bundle.path / MANIFEST_NAME).read_text())["schema_version"] == SCHEMA_VERSION


def test_versions_sort_by_time_and_publishing_does_not_activate(store):
    versions = [store.publish(write_small) for _ in range(5)]
    assert versions == sorted(set(versions))
    infos = store.list()
    assert [info.version for info in infos] == versions
    assert not any(info.active for info in infos)
    assert store.active() is None
    assert infos[0].metrics == {"ndcg@10": 0.61, "auc": 0.7}
    assert infos[0].created_at == store.open(versions[0]).manifest.created_at


def test_a_store_without_bundles_is_empty(store):
    assert store.list() == []
    assert store.active() is None
    with pytest.raises(BundleError, match="no active bundle"):
        store.open()
    with pytest.raises(BundleError, match="no such folder"):
        store.roll_back()
    assert not store.folder.exists()


def test_activation_switches_and_roll_back_returns_step_by_step(store):
    first, second, third = (store.publish(write_small) for _ in range(3))
    store.activate(first)
    store.activate(second)
    store.activate(second)
    store.activate(third)
    assert store.active() == third
    assert store.open().manifest.version == third
    assert [info.active for info in store.list()] == [False, False, True]
    assert store.previous() == second
    assert store.roll_back() == second
    assert BundleStore(store.folder).active() == second
    assert store.roll_back() == first
    assert store.previous() is None
    with pytest.raises(BundleError, match="active before"):
        store.roll_back()
    assert store.active() == first


def test_a_damaged_bundle_is_neither_activated_nor_rolled_back_to(store):
    first, second = store.publish(write_small), store.publish(write_small)
    store.activate(first)
    store.activate(second)
    (store.folder / first / "ranker.txt").write_text("tree\nversion=v5\n")
    with pytest.raises(BundleError, match=r"ranker\.txt"):
        store.activate(first)
    with pytest.raises(BundleError, match=r"ranker\.txt"):
        store.roll_back()
    assert store.active() == second


def test_a_damaged_active_file_is_named_and_replaced_by_an_activation(store):
    version = store.publish(write_small)
    (store.folder / "active").write_text('{"history": "no list"}')
    with pytest.raises(BundleError, match="active: damaged"):
        store.open()
    store.activate(version)
    assert store.active() == version


@given(data=st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_changed_byte_is_refused_and_the_file_named(shared, data):
    store, version = shared
    path = data.draw(st.sampled_from(all_files(store.folder / version)))
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    mutated = bytearray(original)
    mutated[position] ^= flip
    path.write_bytes(mutated)
    try:
        with pytest.raises(BundleError) as caught:
            store.open(version)
    finally:
        path.write_bytes(original)
    assert path.name in str(caught.value)
    assert store.open(version).manifest.version == version


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_cut_or_grown_file_is_refused(shared, data):
    store, version = shared
    path = data.draw(st.sampled_from(all_files(store.folder / version)))
    original = path.read_bytes()
    kept = data.draw(st.integers(0, len(original)))
    path.write_bytes(original[:kept] + (b" " if kept == len(original) else b""))
    try:
        with pytest.raises(BundleError) as caught:
            store.open(version)
    finally:
        path.write_bytes(original)
    assert path.name in str(caught.value)


def test_missing_extra_and_linked_files_are_refused(store, tmp_path):
    version = store.publish(write_small)
    ranker = store.folder / version / "ranker.txt"
    content = ranker.read_bytes()
    ranker.unlink()
    with pytest.raises(BundleError, match=r"ranker\.txt: no such file"):
        store.open(version)
    outside = tmp_path / "outside.txt"
    outside.write_bytes(content)
    ranker.symlink_to(outside)
    with pytest.raises(BundleError, match=r"ranker\.txt: a symbolic link"):
        store.open(version)
    ranker.unlink()
    ranker.write_bytes(content)
    (ranker.parent / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"notes\.txt: an extra file"):
        store.open(version)
    (ranker.parent / "notes.txt").unlink()
    (ranker.parent / "more").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="more: a symbolic link"):
        store.open(version)


def test_pipes_are_refused_without_waiting_for_a_writer(store):
    version = store.publish(write_small)
    os.mkfifo(store.folder / version / "pipe")
    with pytest.raises(BundleError, match="neither a file nor a folder"):
        store.open(version)


def test_a_version_that_is_a_path_or_a_link_is_refused(store, tmp_path):
    version = store.publish(write_small)
    (store.folder / version).rename(tmp_path / version)
    for name in ("../" + version, str(tmp_path / version), "", ".", "active", version):
        with pytest.raises(BundleError, match="no version"):
            store.open(name)
    (store.folder / version).symlink_to(tmp_path / version)
    with pytest.raises(BundleError, match="no version"):
        store.open(version)


def test_a_bundle_of_another_name_is_refused(store):
    version = store.publish(write_small)
    other = version[:-5] + "fffff"
    (store.folder / version).rename(store.folder / other)
    with pytest.raises(BundleError, match="the folder's name"):
        store.open(other)


def test_a_newer_schema_is_refused_with_both_numbers(store):
    version = store.publish(write_small)
    path = store.folder / version / MANIFEST_NAME
    newer = json.loads(path.read_text()) | {"schema_version": 2, "something_new": 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(BundleError, match=r"manifest\.json: schema version 2; expected at most 1"):
        store.open(version)
    assert "schema version 2" in store.list()[0].problem


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 100_000, '{"schema_version": 1}', "\xff"]
)
def test_a_manifest_that_is_none_is_refused(store, text):
    version = store.publish(write_small)
    (store.folder / version / MANIFEST_NAME).write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"manifest\.json: damaged"):
        store.open(version)
    with pytest.raises(BundleError):
        store.activate(version)
    assert store.list()[0].problem


def test_a_bundle_over_the_cap_is_refused_before_hashing(store):
    version = store.publish(write_small)
    with pytest.raises(BundleError, match="at most 100"):
        BundleStore(store.folder, max_bytes=100).open(version)


@pytest.mark.parametrize("name", ["manifest.json", ".hidden", "a b", "naïve", "-x"])
def test_publishing_refuses_odd_file_names(store, name):
    def write(folder: Path) -> ManifestDraft:
        (folder / name).write_text("x")
        return draft()

    with pytest.raises(BundleError):
        store.publish(write)
    assert list(store.folder.iterdir()) == []


def test_publishing_refuses_links_and_metrics_that_are_not_finite(store, tmp_path):
    def write_link(folder: Path) -> ManifestDraft:
        (folder / "link").symlink_to(tmp_path)
        return draft()

    with pytest.raises(BundleError, match="symbolic link"):
        store.publish(write_link)
    with pytest.raises(BundleError, match=r"metric auc is nan"):
        store.publish(lambda folder: draft(metrics={"auc": float("nan")}))
    with pytest.raises(BundleError, match="feature clicks twice"):
        store.publish(lambda folder: draft(feature_names=("clicks", "clicks")))
    assert store.list() == []


def test_a_failed_publish_leaves_nothing_and_passes_its_error_on(store):
    def write(folder: Path) -> ManifestDraft:
        (folder / "half.txt").write_text("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.publish(write)
    assert list(store.folder.iterdir()) == []


def _publish_and_hang(folder: Path, started) -> None:
    def write(inside: Path) -> ManifestDraft:
        (inside / "ranker.txt").write_text("half")
        started.set()
        time.sleep(60)
        return draft()

    BundleStore(folder).publish(write)


def test_a_killed_publish_is_ignored_and_cleaned_while_a_live_one_is_left_alone(store):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_publish_and_hang, args=(store.folder, started))
    process.start()
    assert started.wait(30)
    first = store.publish(write_small)
    unfinished = [path for path in store.folder.iterdir() if path.name.startswith(".")]
    assert len(unfinished) == 1, "the live publish of another process was removed"
    assert [info.version for info in store.list()] == [first]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert unfinished[0].exists()
    second = store.publish(write_small)
    assert sorted(path.name for path in store.folder.iterdir()) == [first, second]


def test_readers_never_see_half_a_bundle_while_writers_publish_and_switch(store):
    store.activate(store.publish(write_small))
    stop = threading.Event()
    problems: list[str] = []
    n_reads = 0

    def read() -> None:
        nonlocal n_reads
        while not stop.is_set():
            problems.extend(info.problem for info in store.list() if info.problem)
            try:
                store.open()
            except BundleError as error:
                problems.append(str(error))
            n_reads += 1

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(target=lambda: store.activate(store.publish(write_small)))
        for _ in range(12)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert problems == []
    assert n_reads > 0
    assert len(store.list()) == 13
    assert store.active() in {info.version for info in store.list()}


def test_values_that_json_knows_otherwise_are_read_back_as_they_will_be_verified(store):
    config = {"windows": (1, 2), "share": 1.0, "limit": 10**30, 3: None, "far": float("inf")}
    version = store.publish(lambda folder: draft(metrics={"n": 1}, config=config))
    manifest = store.open(version).manifest
    assert manifest.metrics == {"n": 1.0}
    assert manifest.config["windows"] == [1, 2]
    with pytest.raises(BundleError, match="values that JSON has"):
        store.publish(lambda folder: draft(config={"path": object()}))
    assert [info.version for info in store.list()] == [version]


def test_manifest_bytes_are_the_same_for_the_same_content(store):
    version = store.publish(write_small)
    manifest = read_manifest(store.folder / version)
    assert read_manifest(store.folder / version) == manifest
    assert manifest.created_at.utcoffset().total_seconds() == 0
