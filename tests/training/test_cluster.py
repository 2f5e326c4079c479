"""Training on Ray ends in a bundle, or in one line that says what is missing."""

from __future__ import annotations

import sys

import pytest

from recsys.errors import TrainingError
from recsys.events.importing import import_events
from recsys.training.cluster import _check_resources, train_on_ray
from recsys.workspace import open_workspace


def test_ray_that_is_not_installed_is_named_with_the_command(plain_workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TrainingError, match=r"ray cannot be imported.*pip install 'recsys\[ray\]'"):
        train_on_ray(plain_workspace, 2, activate=True, fresh=False)


def test_a_cluster_that_is_too_small_is_refused_before_anything_starts():
    _check_resources({"CPU": 2.0}, 2, use_gpu=False)
    with pytest.raises(TrainingError, match="a cluster with 2 CPUs; expected 3, one per worker"):
        _check_resources({"CPU": 2.0}, 3, use_gpu=False)
    with pytest.raises(TrainingError, match="a cluster with 0 GPUs"):
        _check_resources({"CPU": 2.0}, 1, use_gpu=True)


def test_workers_publish_one_bundle(world, thin_encoder, tmp_path):
    pytest.importorskip("ray", reason="ray is 340 MB and no part of the development setup")
    from conftest import write_world

    from recsys.cli.workspace import make_workspace

    path = make_workspace(tmp_path / "w", clock="log")
    encoder = f'encoder = "{thin_encoder}"\ndevice = "cpu"\nwindows = 2\n'
    ranker = "[ranker]\ntrees = 10\nbags = 1\nmin_rows_per_leaf = 5\n"
    path.write_text(f"{path.read_text()}\n[interest]\n{encoder}{ranker}")
    workspace = open_workspace(tmp_path / "w")
    rejects = tmp_path / "rejects.jsonl"
    import_events(workspace.log_config, [write_world(world, tmp_path)], rejects=rejects)
    report = train_on_ray(workspace, 2, activate=True, fresh=False)
    versions = [found.name for found in workspace.bundles.iterdir() if found.is_dir()]
    assert versions == [report.version]
    assert report.metrics["validation_full_ndcg@10"] > 0.8
