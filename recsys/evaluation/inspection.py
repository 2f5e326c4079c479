"""One request that was served, once more: its order, and why each item stood where it stood.

The feature log has what the ranker was given, so that nothing need be computed anew, and nothing
that came since can change it. Scores are those of the bundle that answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.bundle.contents import FALLBACK, RANKER
from recsys.bundle.store import BundleStore
from recsys.pipeline.explaining import explain
from recsys.pipeline.feature_log import ServedRequest
from recsys.pipeline.requests import Explanation
from recsys.ranking.ranker import Ranker
from recsys.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Inspected:
    """A request and what became of it, before rules.

    Args:
        request: As the feature log has it.
        item_ids: Candidates, best first.
        scores: Of these.
        explanations: Of those that were asked for.
    """

    request: ServedRequest
    item_ids: list[str]
    scores: list[float]
    explanations: list[Explanation]


def inspect_request(
    workspace: Workspace, request: ServedRequest, *, n_best: int = 0, item_id: str = ""
) -> Inspected:
    """Score and explain a request by what the ranker was given then.

    Args:
        workspace: Whose bundle answered.
        request: From the feature log.
        n_best: Explain so many of the best items.
        item_id: Explain this one as well; empty: none.

    Returns:
        The order, and explanations.

    Raises:
        BundleError: The bundle is gone, or no ranker of it has these columns.
    """
    bundle = BundleStore(workspace.bundles).open(request.model_version)
    whole = bundle.manifest.feature_names
    # Where feature models had failed the other ranker answered, which knows fewer columns.
    file = RANKER if request.features == tuple(whole) else FALLBACK
    ranker = Ranker.load(bundle.path / file, request.features)
    scores = ranker.score(request.matrix)
    order = np.argsort(-scores, kind="stable")
    ids = [request.item_ids[row] for row in order.tolist()]
    wanted = list(range(min(n_best, len(ids))))
    if item_id in ids[n_best:]:
        wanted.append(ids.index(item_id))
    explanations = []
    if wanted:
        explanations = explain(ranker, request.matrix[order[wanted]], [ids[i] for i in wanted])
    return Inspected(request, ids, scores[order].tolist(), explanations)
