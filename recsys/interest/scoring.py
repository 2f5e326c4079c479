"""Scores of candidates from stored vectors: no transformer in the path of a request.

The same sums as `towers` and `taste`, one request at a time, in compiled loops.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ScoringBatch
from recsys.interest.parts import Known
from recsys.interest.reading import LIKED, SHOWN, read_past, speaking
from recsys.interest.scratch import Stored, Work, make_scratch
from recsys.interest.stored_vectors import Head

#: In the order of the score matrix.
COLUMNS: Final = (
    "text_interest",
    "text_taste",
    "text_appeal",
    "text_liked_mean",
    "text_liked_best",
)
_NOTHING: Final = np.zeros(0, dtype=np.float32)
_NO_HEAD: Final = Head._make([*[_NOTHING] * 4, np.zeros((0, 0), dtype=np.float32), *[_NOTHING] * 5])


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
    # Plugins are loaded by commands that score nothing; those do without the compiler.
    from recsys.interest.scoring_loops import score_requests

    versions, texts = known.versions, known.texts
    pasts = read_past(batch.histories[LIKED], batch.histories[SHOWN], versions)
    stored = Stored(
        versions.texts, texts.plain, texts.points, texts.values, texts.appeal,
        known.traits, known.rates,
    )  # fmt: skip
    work = Work(pasts, stored, _NO_HEAD if head is None else head, make_scratch(pasts, stored))
    score_requests((speaking(batch.versions, versions), batch.offsets), work, scores)
    return scores
