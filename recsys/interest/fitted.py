"""A fitted text-interest model: stored vectors that score, and an encoder for new texts."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ItemSource, ScoringBatch
from recsys.interest.catalogue import extend
from recsys.interest.parts import Parts, make_known
from recsys.interest.scoring import COLUMNS, score_batch
from recsys.interest.stored_vectors import joined


class FittedInterest:
    """Scores candidates by text; safe to use from many threads while it takes in new items.

    Args:
        items: The catalogue.
        parts: Everything else; replaced as one when the catalogue has grown.
    """

    columns: tuple[str, ...] = COLUMNS

    def __init__(self, items: ItemSource, parts: Parts) -> None:
        self.items = items
        self.parts = parts
        self._growing = threading.Lock()
        self._vectors: tuple[Parts, NDArray[np.float32]] | None = None

    def score(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Score every candidate.

        Returns:
            float32 (n_candidates, 5), columns as in `columns`; NaN where nothing can be said.
        """
        parts = self.parts
        return score_batch(batch, parts.known, parts.head)

    def refresh(self) -> None:
        """Take in version rows that the catalogue has gained; only texts never seen are encoded."""
        if len(self.items) == len(self.parts.known.versions):
            return
        with self._growing:
            parts, known = self.parts, self.parts.known
            growth = extend(known.versions, known.hashes, self.items, parts.template)
            texts = known.texts
            if growth.new_texts and parts.encoder is not None:
                vectors = parts.encoder.encode(growth.new_texts)
                texts = joined([texts, parts.projection.table(*vectors)])
            grown = make_known(growth.versions, growth.hashes, texts, parts.numbers)
            self.parts = dataclasses.replace(parts, known=grown)

    def item_vectors(self) -> NDArray[np.float32]:
        """Give the vectors of all version rows in the interest space.

        Returns:
            (n_versions, embedding_size), unit length, zero where unknown; must not be changed.
        """
        parts, made = self.parts, self._vectors
        if made is not None and made[0] is parts:
            return made[1]
        known = parts.known
        points = known.texts.plain if parts.head is None else known.texts.points
        vectors = np.zeros((len(known.versions), points.shape[1]), dtype=np.float32)
        speaking = known.versions.texts >= 0
        vectors[speaking] = points[known.versions.texts[speaking]]
        self._vectors = parts, vectors
        return vectors

    def save(self, folder: Path) -> None:
        """Write the encoder, in the layout of sentence-transformers, and all stored vectors."""
        from recsys.interest.artefacts import save

        save(self.parts, folder)
