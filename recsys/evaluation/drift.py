"""How far the columns of new requests are from those that the ranker learned from.

A ranker is right about what looks like its past. When columns have shifted, or are missing where
they were there, a new training is due, or a feed of events has broken. The reference is the
validation slice, the last that was learned from, as the bundle keeps it; new are the lists that
came after, with candidates made in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer, read_profile, read_scorer, read_spreads
from recsys.bundle.store import BundleStore
from recsys.errors import TrainingError
from recsys.evaluation.requests import first_test_list
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import LogSource
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.training.dataset import make_dataset
from recsys.workspace import Workspace

#: Lists whose columns are computed at a time.
_LISTS: Final = 500


@dataclass(frozen=True, slots=True)
class ColumnShift:
    """How far one column is from what was learned from.

    Args:
        feature: The column.
        plugin: Whose it is.
        psi: Population stability index.
        missing_then: Share of the values that were missing, 0 to 1.
        missing_now: Share that is missing in new lists.
        gain: The column's share of what the splits of the ranker won, 0 to 1.
    """

    feature: str
    plugin: str
    psi: float
    missing_then: float
    missing_now: float
    gain: float


@dataclass(frozen=True, slots=True)
class Drift:
    """New lists beside those that a bundle learned from.

    Args:
        version: The bundle.
        n_lists: New lists that were looked at.
        n_candidates: Their candidates.
        columns: The most shifted first.
    """

    version: str
    n_lists: int
    n_candidates: int
    columns: list[ColumnShift]


def measure_drift(
    workspace: Workspace,
    source: LogSource,
    version: str | None = None,
    *,
    most_lists: int = 2000,
    progress: Progress = tell_nobody,
) -> Drift:
    """Compare the newest lists of a log with what a bundle learned from.

    Args:
        workspace: The workspace.
        source: Its log.
        version: None: the active bundle.
        most_lists: The newest of those after the validation slice, so many at most.
        progress: Called with (what, lists done, lists in all).

    Returns:
        The shift of every column of the ranker.

    Raises:
        BundleError: The bundle was made before spreads were kept.
        TrainingError: No list came after the validation slice.
    """
    bundle = BundleStore(workspace.bundles).open(version)
    spreads = read_spreads(bundle)
    dataset = make_dataset(source, workspace.config, tuple(read_profile(bundle).event_types))
    scorer = read_scorer(bundle, workspace, dataset.log.items)
    n_all = len(dataset.labelled.slates)
    start = max(first_test_list(scorer.contents.split, dataset), n_all - most_lists)
    if start >= n_all:
        raise TrainingError("drift", "no list after the validation slice", "one")
    newest = dataset.labelled.slates.part(start, n_all)
    matrix = _columns(scorer, newest, dataset.reader, progress)
    shares = scorer.contents.ranker.gain_shares()
    columns = [
        ColumnShift(
            feature=name,
            plugin=scorer.plan.owners[name],
            psi=spreads[name].shift(values),
            missing_then=spreads[name].missing,
            missing_now=float(np.isnan(values).mean()),
            gain=shares[name],
        )
        for name, values in zip(scorer.plan.names, matrix.T, strict=True)
    ]
    columns.sort(key=lambda shift: -shift.psi)
    return Drift(scorer.version, len(newest), len(matrix), columns)


def _columns(
    scorer: Scorer, slates: Slates, reader: OfflineReader, progress: Progress
) -> NDArray[np.float32]:
    """Compute the columns of a bundle.

    Returns:
        float32 (n_candidates, n_features).
    """
    plan, parts = scorer.plan, []
    for start in range(0, len(slates), _LISTS):
        part = slates.part(start, min(start + _LISTS, len(slates)))
        scores = plan.scores(part, reader, scorer.contents.models)
        parts.append(plan.matrix(part, reader, scores))
        progress("computing features", start + len(part), len(slates))
    return np.concatenate(parts)
