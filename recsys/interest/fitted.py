"""A fitted text-interest model: stored vectors that score, and an encoder for new texts."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recsys.features.growable import Growable
from recsys.features.models import ItemSource, ScoringBatch
from recsys.interest.catalogue import extend
from recsys.interest.growing import Growing
from recsys.interest.parts import Parts
from recsys.interest.scoring import COLUMNS, score_batch
from recsys.interest.stored_vectors import rows_or_zeros


class FittedInterest:
    """Scores candidates by text; safe to use from many threads while it takes in new items.

    Args:
        items: The catalogue.
        parts: Everything else; replaced as one when the catalogue has grown.
        rooms: As of `Growing`.
    """

    columns: tuple[str, ...] = COLUMNS

    def __init__(
        self,
        items: ItemSource,
        parts: Parts,
        rooms: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    ) -> None:
        self.items = items
        self.parts = parts
        self._rooms = rooms
        self._lock = threading.Lock()
        self._growing: Growing | None = None
        self._filling = threading.Lock()
        self._vectors: Growable | None = None

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
        with self._lock:
            parts, known = self.parts, self.parts.known
            growth = extend(known.versions, known.hashes, self.items, parts.template)
            texts = None
            if growth.new_texts and parts.encoder is not None:
                vectors = parts.encoder.encode(growth.new_texts)
                texts = parts.projection.table(*vectors)
            # Not before the texts are encoded: what fails leaves everything as it was.
            growing = self._growing or Growing(known, parts.numbers, self._rooms)
            self._growing = growing
            self.parts = dataclasses.replace(parts, known=growing.add(growth, texts))

    def item_vectors(self) -> NDArray[np.float32]:
        """Give the vectors of all version rows in the interest space.

        Returns:
            (n_versions, embedding_size), unit length, zero where unknown; must not be changed.
            Longer ones that are given later begin with the same rows.
        """
        parts = self.parts
        texts = parts.known.versions.texts
        points = parts.known.texts.plain if parts.head is None else parts.known.texts.points
        with self._filling:
            if self._vectors is None:
                self._vectors = Growable(np.float32, 0.0, points.shape[1:])
            self._vectors.extend(rows_or_zeros(points, texts[len(self._vectors) :]))
            found: NDArray[np.float32] = self._vectors.rows[: len(texts)]
        return found

    def save(self, folder: Path) -> None:
        """Write the encoder, in the layout of sentence-transformers, and all stored vectors."""
        from recsys.interest.artefacts import save

        save(self.parts, folder)
