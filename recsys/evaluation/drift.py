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

from recsys.bundle.contents import read_profile, read_scorer, read_spreads
from recsys.bundle.store import BundleStore
from recsys.errors import TrainingError
from recsys.evaluation.requests import first_test_list
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import LogSource
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
    config, types = workspace.config, tuple(read_profile(bundle).event_types)
    dataset = make_dataset(source, config, types)
    scorer = read_scorer(bundle, workspace, dataset.log.items)
    n_all = len(dataset.labelled.slates)
    start = max(first_test_list(scorer.contents.split, dataset), n_all - most_lists)
    if start >= n_all:
        raise TrainingError("drift", "no list after the validation slice", "one")
    plan, models, parts = scorer.plan, scorer.contents.models, []
    for first in range(start, n_all, _LISTS):
        slates = dataset.labelled.slates.part(first, min(first + _LISTS, n_all))
        parts.append(
            plan.matrix(slates, dataset.reader, plan.scores(slates, dataset.reader, models))
        )
        progress("computing features", min(first + _LISTS, n_all) - start, n_all - start)
    matrix = np.concatenate(parts)
    gains = {found.feature: found.gain for found in scorer.contents.ranker.importance()}
    total = sum(gains.values()) or 1.0
    columns = [
        ColumnShift(
            feature=name,
            plugin=plan.owners[name],
            psi=spreads[name].shift(matrix[:, column]),
            missing_then=spreads[name].missing,
            missing_now=float(np.isnan(matrix[:, column]).mean()),
            gain=gains.get(name, 0.0) / total,
        )
        for column, name in enumerate(plan.names)
    ]
    columns.sort(key=lambda shift: -shift.psi)
    return Drift(scorer.version, n_all - start, len(matrix), columns)
