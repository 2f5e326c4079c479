"""A training from the log to the active bundle, in one process or in several that fit together."""

from __future__ import annotations

from recsys.bundle.store import BundleStore
from recsys.events.merge import merge_spool
from recsys.events.pieces import StoredLog
from recsys.events.progress import Progress
from recsys.interest.sharing import join, part, rank
from recsys.training.runs import remove_unfinished
from recsys.training.train import TrainReport, assist, train
from recsys.workspace import Workspace


def train_and_publish(
    workspace: Workspace,
    progress: Progress,
    *,
    activate: bool,
    ranker_only: bool = False,
    fresh: bool = False,
) -> TrainReport | None:
    """Fold the spool into the log, train, publish and perhaps activate.

    Where a launcher started several processes, all of them call this. Feature models are fitted by
    all together; everything else, and every file, is the first one's.

    Args:
        workspace: Where the log, plugins, runs and bundles live; one folder for all processes.
        progress: Called with (what, done, total).
        activate: Let the new bundle serve.
        ranker_only: Keep the feature models of the active bundle and their scores.
        fresh: Do not go on with a run that was cut off.

    Returns:
        The report; None in all processes but the first.

    Raises:
        TrainingError: The log has too little to learn from, or the processes cannot work together.
    """
    join()
    try:
        if rank() > 0:
            if not ranker_only:
                assist(workspace)
            return None
        report = _train(workspace, progress, ranker_only=ranker_only, fresh=fresh)
    finally:
        part()
    if activate:
        BundleStore(workspace.bundles).activate(report.version)
    return report


def _train(
    workspace: Workspace, progress: Progress, *, ranker_only: bool, fresh: bool
) -> TrainReport:
    if fresh:
        remove_unfinished(workspace.runs)
    reuse = BundleStore(workspace.bundles).open() if ranker_only else None
    merge_spool(workspace.log_config)
    log = StoredLog(workspace.log_config, progress=progress)
    return train(workspace, log, progress, reuse=reuse)
