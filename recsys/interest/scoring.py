"""Scores of candidates from stored vectors, in numpy: no transformer in the path of a request.

The same sums as `towers` and `taste`, one request at a time; a request with 500 candidates costs a
few products of thin matrices and one small linear system.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ScoringBatch
from recsys.interest.parts import Known
from recsys.interest.reading import LIKED, SHOWN, Past, read_past, speaking
from recsys.interest.stored_vectors import Head, Vector

#: In the order of the score matrix.
COLUMNS: Final = (
    "text_interest",
    "text_taste",
    "text_appeal",
    "text_liked_mean",
    "text_liked_best",
    "text_disliked_mean",
    "text_disliked_best",
)
_FIRST_PLAIN: Final = COLUMNS.index("text_liked_mean")


def score_batch(batch: ScoringBatch, known: Known, head: Head | None) -> NDArray[np.float32]:
    """Score all candidates of all requests.

    Args:
        batch: The requests.
        known: What is stored of texts and versions.
        head: None before the first fit: the columns that need one stay missing.

    Returns:
        float32 (n_candidates, 7), columns as in `COLUMNS`; NaN where nothing can be said.
    """
    scores = np.full((len(batch.versions), len(COLUMNS)), np.nan, dtype=np.float32)
    if not len(known.texts):
        return scores
    versions = known.versions
    liked, passed_over = read_past(batch.histories[LIKED], batch.histories[SHOWN], versions)
    candidates = speaking(batch.versions, versions)
    for request in range(len(batch)):
        low, high = int(batch.offsets[request]), int(batch.offsets[request + 1])
        pasts = (_part(liked, request), _part(passed_over, request))
        _score_request(scores[low:high], candidates[low:high], pasts, (known, head))
    scores[candidates < 0] = np.nan
    return scores


def _part(past: Past, request: int) -> Past:
    known = past.rows[request] >= 0
    return Past(past.rows[request][known], past.types[request][known], past.ages[request][known])


def _score_request(
    scores: NDArray[np.float32],
    candidates: NDArray[np.int32],
    pasts: tuple[Past, Past],
    model: tuple[Known, Head | None],
) -> None:
    known, head = model
    texts, text_rows = known.texts, known.versions.texts
    seen = text_rows[candidates]
    plain = texts.plain[seen]
    for side, past in enumerate(pasts):
        if len(past.rows):
            similarity = plain @ texts.plain[text_rows[past.rows]].T
            scores[:, _FIRST_PLAIN + 2 * side] = similarity.mean(axis=1)
            scores[:, _FIRST_PLAIN + 2 * side + 1] = similarity.max(axis=1)
    if head is None:
        return
    scores[:, 2] = texts.appeal[seen]
    if any(len(past.rows) for past in pasts):
        points = texts.points[seen]
        attended = sum(_side(points, known, head, (s, p)) for s, p in enumerate(pasts))
        scores[:, 1] = _taste(candidates, known, head, pasts)
        scores[:, 0] = attended + scores[:, 1]


def _side(points: Vector, known: Known, head: Head, what: tuple[int, Past]) -> Vector:
    side, past = what
    if not len(past.rows):
        return np.zeros(len(points), dtype=np.float32)
    rows = known.versions.texts[past.rows]
    log_weight = known.texts.values[rows, side] + head.age_bias[side][past.ages]
    if side == 0:
        log_weight = log_weight + head.type_bias[past.types]
    weight = np.exp(log_weight)
    similarity = points @ known.texts.points[rows].T
    mean = similarity @ weight / (len(rows) + head.shrinkage[side])
    attention = np.exp(head.temperature[side] * (similarity - 1.0)) * weight
    attended = (attention * similarity).sum(axis=1) / attention.sum(axis=1)
    scores: Vector = head.mix[2 * side] * mean + head.mix[2 * side + 1] * attended
    return scores


def _taste(
    candidates: NDArray[np.int32], known: Known, head: Head, pasts: tuple[Past, Past]
) -> Vector:
    rows = np.concatenate([past.rows for past in pasts])
    n_liked = len(pasts[0].rows)
    done = (np.arange(len(rows)) < n_liked).astype(np.float32)
    weights = np.where(done > 0, head.taste_weights[0], head.taste_weights[1])
    rate = head.expected[0] * known.rates[rows] + head.expected[1]
    surprise = done - 1.0 / (1.0 + np.exp(-rate))
    constant = np.broadcast_to(head.constant, (len(rows), 1))
    past = np.concatenate([_traits(rows, known), constant], axis=1)
    heavy = (past * weights[:, None]).T
    system = heavy @ past + head.ridge * np.eye(past.shape[1], dtype=np.float32)
    taste = np.linalg.solve(system, heavy @ surprise)
    found: Vector = (head.scale * (_traits(candidates, known) @ taste[:-1])).astype(np.float32)
    return found


def _traits(rows: NDArray[np.int32], known: Known) -> Vector:
    texts = known.texts.taste[known.versions.texts[rows]]
    return np.concatenate([texts, known.number_traits[rows]], axis=1)
