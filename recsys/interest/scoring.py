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
)
_INTEREST, _TASTE, _APPEAL, _MEAN, _BEST = range(len(COLUMNS))


def score_batch(batch: ScoringBatch, known: Known, head: Head | None) -> NDArray[np.float32]:
    """Score all candidates of all requests.

    Args:
        batch: The requests.
        known: What is stored of texts and versions.
        head: None before the first fit: the columns that need one stay missing.

    Returns:
        float32 (n_candidates, 5), columns as in `COLUMNS`; NaN where nothing can be said.
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
    liked, passed_over = pasts
    seen = text_rows[candidates]
    if len(liked.rows):
        similarity = texts.plain[seen] @ texts.plain[text_rows[liked.rows]].T
        np.mean(similarity, axis=1, out=scores[:, _MEAN])
        np.max(similarity, axis=1, out=scores[:, _BEST])
    if head is None:
        return
    scores[:, _APPEAL] = texts.appeal[seen]
    if len(liked.rows) or len(passed_over.rows):
        points = texts.points[seen]
        scores[:, _TASTE] = _taste(candidates, known, head, pasts)
        scores[:, _INTEREST] = scores[:, _TASTE]
        for side, past in enumerate(pasts):
            if len(past.rows):
                scores[:, _INTEREST] += _side(points, known, head, (side, past))


def _side(points: Vector, known: Known, head: Head, what: tuple[int, Past]) -> Vector:
    side, past = what
    rows = known.versions.texts[past.rows]
    log_weight = known.texts.values[rows, side] + head.age_bias[side][past.ages]
    if side == 0:
        log_weight = log_weight + head.type_bias[past.types]
    similarity = points @ known.texts.points[rows].T
    mean = similarity @ (np.exp(log_weight) / (len(rows) + head.shrinkage[side]))
    # Nothing is nearer than a similarity of one, so no power is too large.
    temperature = head.temperature[side]
    attention = similarity * temperature
    attention += log_weight - temperature
    np.exp(attention, out=attention)
    attended = np.einsum("ij,ij->i", attention, similarity) / attention.sum(axis=1)
    scores: Vector = head.mix[2 * side] * mean + head.mix[2 * side + 1] * attended
    return scores


def _taste(
    candidates: NDArray[np.int32], known: Known, head: Head, pasts: tuple[Past, Past]
) -> Vector:
    liked, passed_over = pasts
    n_liked = len(liked.rows)
    rows = np.concatenate([liked.rows, passed_over.rows])
    past = np.empty((len(rows), known.traits.shape[1] + 1), dtype=np.float32)
    past[:, :-1], past[:, -1] = known.traits[rows], head.constant[0]
    weights = np.full(len(rows), head.taste_weights[1])
    weights[:n_liked] = head.taste_weights[0]
    surprise = -1.0 / (1.0 + np.exp(-(head.expected[0] * known.rates[rows] + head.expected[1])))
    surprise[:n_liked] += 1.0
    heavy = past.T * weights
    system = heavy @ past
    system.flat[:: len(system) + 1] += head.ridge
    taste = np.linalg.solve(system, heavy @ surprise)
    found: Vector = known.traits[candidates] @ (head.scale * taste[:-1])
    return found
