"""Backfilling: the feature columns that a training run will read, computed ahead of it."""

from __future__ import annotations

from recsys.events.snapshot import LogSnapshot
from recsys.features.profile import profile_log
from recsys.features.store import Backfill, ColumnStore
from recsys.plugins.registry import load_capabilities
from recsys.training.dataset import make_dataset
from recsys.training.split import split_by_time
from recsys.training.stacking import Progress
from recsys.workspace import Workspace


def backfill_columns(workspace: Workspace, snapshot: LogSnapshot, progress: Progress) -> Backfill:
    """Compute all columns that need no feature model and are not kept yet.

    Args:
        workspace: Whose plugins offer the features.
        snapshot: Its log.
        progress: Called with (what, candidates done, candidates in all).

    Returns:
        The columns of the train and validation slices.
    """
    config = workspace.config
    dataset = make_dataset(snapshot, config)
    profile = profile_log(snapshot, dataset.log)
    plan = load_capabilities(workspace.folder, config, profile).plan.without_models()
    split = split_by_time(dataset.labelled, config.split)
    seen = dataset.labelled.part(0, split.validation_end)
    store = ColumnStore(workspace.columns, snapshot, seen.slates)
    return store.backfill(plan, dataset.reader, {}, progress)
