"""A ranker is trained alone on the scores that feature models gave out of time before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle.store import BundleStore
from recsys.config import InterestConfig
from recsys.errors import TrainingError
from recsys.events.snapshot import read_snapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.plan import Offer, make_plan
from recsys.features.profile import LogProfile
from recsys.features.slates import Slates
from recsys.features.vocabulary import Feature
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RankQuery
from recsys.training.reuse import Requests, Reused, read_reused, reuse_models, write_scores
from recsys.training.stacking import Stack
from recsys.training.train import train
from recsys.workspace import Workspace, open_workspace

PLUGIN = """
import polars as pl
from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl

@hookimpl
def recsys_aggregates():
    return [count("fresh_clicks", "click", by="item", window_s=60.0)]

@hookimpl
def recsys_features():
    return [Feature(name="fresh", expr=pl.col("fresh_clicks"))]
"""


class FakeFitted:
    columns = ("taste",)

    def score(self, batch):
        return batch.versions[:, None].astype(np.float32) + 100

    def refresh(self):
        pass


class FakeModel:
    name = "fake"
    columns = ("taste",)

    def aggregates(self):
        return ()

    def load(self, folder, items):
        return FakeFitted()


PLAN = make_plan(
    LogProfile(),
    [Offer("mine", features=(Feature(name="taste", expr=pl.col("taste")),), models=(FakeModel(),))],
)


def requests_of(log, as_of: list[int]) -> Requests:
    n = len(as_of)
    slates = Slates(
        users=np.zeros(n, np.int32),
        as_of=np.array(as_of, np.int64),
        items=np.tile(np.arange(3, dtype=np.int32), n),
        offsets=np.arange(0, 3 * n + 1, 3, dtype=np.int64),
    )
    return Requests(slates, log)


@pytest.fixture
def bundle(tmp_path):
    """Stands for a bundle with one feature model; its scores are kept for three requests."""

    class Opened:
        path = tmp_path / "bundle"
        manifest = type("Manifest", (), {"version": "v1"})

    (Opened.path / "models" / "fake").mkdir(parents=True)
    return Opened()


@pytest.fixture
def log(world):
    return encode_log(snapshot_of(world.events))


def reused_of(tmp_path, bundle, log, fitted_until: int) -> Reused:
    workspace = Workspace(tmp_path, None)
    old = requests_of(log, [10, 20, 30])
    write_scores(workspace, "v1", old, Stack({}, {"taste": np.arange(9, dtype=np.float32)}))
    kept = pl.read_parquet(tmp_path / "stacked" / "v1.parquet")
    return Reused(bundle, kept, fitted_until)


def test_known_requests_keep_their_scores_and_newer_ones_are_scored(tmp_path, bundle, log) -> None:
    reused = reused_of(tmp_path, bundle, log, fitted_until=40)
    reader = OfflineReader(log)
    stack = reuse_models(reused, PLAN, reader, requests_of(log, [10, 20, 30, 50]))
    assert stack.scores["taste"][:9].tolist() == list(range(9))
    assert (stack.scores["taste"][9:] >= 99).all()
    assert isinstance(stack.models["fake"], FakeFitted)


def test_a_log_that_was_rewritten_is_refused(tmp_path, bundle, log) -> None:
    reused = reused_of(tmp_path, bundle, log, fitted_until=40)
    with pytest.raises(TrainingError, match="1 of 3 requests without scores"):
        reuse_models(reused, PLAN, OfflineReader(log), requests_of(log, [10, 21, 30]))


def test_a_model_that_the_bundle_lacks_is_refused(tmp_path, bundle, log) -> None:
    reused = reused_of(tmp_path, bundle, log, fitted_until=40)
    shutil.rmtree(bundle.path / "models")
    with pytest.raises(TrainingError, match="feature model fake: not in bundle v1"):
        reuse_models(reused, PLAN, OfflineReader(log), requests_of(log, [10]))


@pytest.fixture
def workspace(plain_workspace, tmp_path, monkeypatch) -> Workspace:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    return open_workspace(tmp_path / "w")


def test_a_new_feature_is_a_column_after_training_the_ranker_alone(workspace) -> None:
    store = BundleStore(workspace.bundles)
    (workspace.folder / "plugins" / "fresh.py").write_text(PLUGIN)
    snapshot = read_snapshot(workspace.log_config)
    report = train(workspace, snapshot, lambda *_: None, reuse=store.open())
    store.activate(report.version)
    engine = load_engine(workspace)
    assert "fresh" in engine.feature_names
    assert engine.rank(RankQuery("user0", ["item1", "item2"], engine.now("log"))).item_ids


def test_without_a_new_feature_the_ranker_is_the_same(workspace) -> None:
    store = BundleStore(workspace.bundles)
    before = store.open()
    report = train(workspace, read_snapshot(workspace.log_config), lambda *_: None, reuse=before)
    after = store.open(report.version)
    assert (after.path / "ranker.txt").read_bytes() == (before.path / "ranker.txt").read_bytes()


def test_why_a_second_run_could_differ_goes_with_the_models(workspace, monkeypatch) -> None:
    store, snapshot = BundleStore(workspace.bundles), read_snapshot(workspace.log_config)
    assert not store.open().manifest.not_reproducible
    monkeypatch.setattr("recsys.training.train.why_unrepeatable", lambda device: f"on {device}")
    fitted = store.open(train(workspace, snapshot, lambda *_: None).version)
    assert fitted.manifest.not_reproducible == "on auto"
    monkeypatch.undo()
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    taken_over = train(workspace, snapshot, lambda *_: None, reuse=fitted)
    assert store.open(taken_over.version).manifest.not_reproducible == "on auto"


def test_other_settings_and_lost_scores_are_refused_in_one_line(workspace) -> None:
    bundle = BundleStore(workspace.bundles).open()
    changed = workspace.config.model_copy(update={"interest": InterestConfig(epochs=9)})
    with pytest.raises(TrainingError, match="interest: other settings than in bundle"):
        read_reused(replace(workspace, config=changed), bundle)
    shutil.rmtree(Path(workspace.folder) / "stacked")
    with pytest.raises(TrainingError, match="train without --ranker-only"):
        read_reused(workspace, bundle)
