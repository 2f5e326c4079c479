"""Backfilling: the feature columns that a training run will read, computed ahead of it."""

from __future__ import annotations

from recsys.events.progress import Progress
from recsys.events.snapshot import LogSource
from recsys.features.store import Backfill, ColumnStore
from recsys.plugins.registry import load_capabilities
from recsys.training.dataset import make_dataset
from recsys.training.split import split_by_time
from recsys.workspace import Workspace


def backfill_columns(workspace: Workspace, source: LogSource, progress: Progress) -> Backfill:
    """Compute all columns that need no feature model and are not kept yet.

    Args:
        workspace: Whose plugins offer the features.
        source: Its log.
        progress: Called with (what, candidates done, candidates in all).

    Returns:
        What was computed for the train and validation slices, and what was there.
    """
    config = workspace.config
    dataset = make_dataset(source, config)
    plan = load_capabilities(workspace.folder, config, dataset.profile).plan.without_models()
    split = split_by_time(dataset.labelled, config.split)
    seen = dataset.labelled.part(0, split.validation_end)
    store = ColumnStore(workspace.columns, dataset.digest.key, dataset.log, seen.slates)
    return store.backfill(plan, dataset.reader, progress)
