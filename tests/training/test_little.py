"""A log with next to nothing in it is trained on, or refused in one line."""

from __future__ import annotations

from recsys.cli.workspace import make_workspace
from recsys.events.snapshot import snapshot_of
from recsys.testing.worlds import topic_world
from recsys.training.train import train
from recsys.workspace import open_workspace


def test_the_log_of_one_user_is_enough(thin_encoder, tmp_path):
    path = make_workspace(tmp_path, clock="log")
    interest = f'[interest]\nencoder = "{thin_encoder}"\ndevice = "cpu"\nwindows = 2\n'
    ranker = "[ranker]\ntrees = 10\nbags = 1\nmin_rows_per_leaf = 5\n"
    path.write_text(f"{path.read_text()}\n{interest}{ranker}")
    snapshot = snapshot_of(topic_world(n_users=1, n_lists=75).events)
    report = train(open_workspace(tmp_path), snapshot, lambda *_: None)
    assert report.metrics["validation_full_ndcg@10"] > 0.9
