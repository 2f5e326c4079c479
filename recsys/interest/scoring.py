"""Scores of candidates from stored vectors, in numpy: no transformer in the path of a request.

The same sums as `towers`, one request at a time; a request with 500 candidates costs a few products
of thin matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ScoringBatch
from recsys.interest.catalogue import VersionTable
from recsys.interest.reading import LIKED, SHOWN, Past, read_past, text_rows

#: In the order of the score matrix.
COLUMNS: Final = (
    "text_interest",
    "text_appeal",
    "text_liked_mean",
    "text_liked_best",
    "text_disliked_mean",
    "text_disliked_best",
)

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """The scalars of a fitted `InterestNet`.

    Args:
        mix: (4,): weight of liked mean, liked attended, passed-over mean, passed-over attended.
        temperature: (2,)
        shrinkage: (2,): imagined items of the past at which the candidate is neither near nor far.
        type_bias: (N_TYPES,)
        age_bias: (2, N_AGES)
    """

    mix: Vector
    temperature: Vector
    shrinkage: Vector
    type_bias: Vector
    age_bias: Vector


@dataclass(frozen=True, slots=True)
class TextTable:
    """What is stored of each distinct text.

    Args:
        plain: float32 (n_texts, k): as the pretrained encoder sees it, centred, main directions,
            unit length.
        points: float32 (n_texts, size): in the fitted interest space, unit length.
        values: float32 (n_texts, 2): log weight as an item of the past, liked and passed over.
        appeal: float32 (n_texts,)
    """

    plain: Vector
    points: Vector
    values: Vector
    appeal: Vector

    def __len__(self) -> int:
        return len(self.plain)


def score_batch(
    batch: ScoringBatch, versions: VersionTable, texts: TextTable, head: Head | None
) -> NDArray[np.float32]:
    """Score all candidates of all requests.

    Args:
        batch: The requests.
        versions: Text of each version row.
        texts: Vectors of each text.
        head: None before the first fit: the columns that need one stay missing.

    Returns:
        float32 (n_candidates, 6), columns as in `COLUMNS`; NaN where nothing can be said.
    """
    scores = np.full((len(batch.versions), len(COLUMNS)), np.nan, dtype=np.float32)
    if not len(texts):
        return scores
    liked, passed_over = read_past(batch.histories[LIKED], batch.histories[SHOWN], versions)
    candidates = text_rows(batch.versions, versions)
    for request in range(len(batch)):
        low, high = int(batch.offsets[request]), int(batch.offsets[request + 1])
        pasts = (_part(liked, request), _part(passed_over, request))
        _score_request(scores[low:high], candidates[low:high], pasts, (texts, head))
    scores[candidates < 0] = np.nan
    return scores


def _part(past: Past, request: int) -> Past:
    known = past.texts[request] >= 0
    return Past(past.texts[request][known], past.types[request][known], past.ages[request][known])


def _score_request(
    scores: NDArray[np.float32],
    candidates: NDArray[np.int32],
    pasts: tuple[Past, Past],
    model: tuple[TextTable, Head | None],
) -> None:
    texts, head = model
    plain = texts.plain[candidates]
    for side, past in enumerate(pasts):
        if len(past.texts):
            similarity = plain @ texts.plain[past.texts].T
            scores[:, 2 + 2 * side] = similarity.mean(axis=1)
            scores[:, 3 + 2 * side] = similarity.max(axis=1)
    if head is None:
        return
    scores[:, 1] = texts.appeal[candidates]
    if any(len(past.texts) for past in pasts):
        points = texts.points[candidates]
        scores[:, 0] = sum(_side(points, texts, head, (s, p)) for s, p in enumerate(pasts))


def _side(
    points: NDArray[np.float32], texts: TextTable, head: Head, what: tuple[int, Past]
) -> NDArray[np.float32]:
    side, past = what
    if not len(past.texts):
        return np.zeros(len(points), dtype=np.float32)
    log_weight = texts.values[past.texts, side] + head.age_bias[side][past.ages]
    if side == 0:
        log_weight = log_weight + head.type_bias[past.types]
    weight = np.exp(log_weight)
    similarity = points @ texts.points[past.texts].T
    mean = similarity @ weight / (len(past.texts) + head.shrinkage[side])
    attention = np.exp(head.temperature[side] * (similarity - 1.0)) * weight
    attended = (attention * similarity).sum(axis=1) / attention.sum(axis=1)
    scores: NDArray[np.float32] = head.mix[2 * side] * mean + head.mix[2 * side + 1] * attended
    return scores
