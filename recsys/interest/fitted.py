"""A fitted text-interest model: stored vectors that score, and an encoder for new texts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ItemSource, ScoringBatch
from recsys.interest.catalogue import VersionTable, extend
from recsys.interest.scoring import COLUMNS, Head, TextTable, score_batch

Vectors = NDArray[np.float32]


class TextVectors(Protocol):
    """Turns texts into vectors both ways."""

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Encode texts: as pretrained and as tuned, each (n, encoder_size) of unit length."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what is needed to go on encoding; say what the files do not."""
        ...


@dataclass(frozen=True, slots=True)
class Projection:
    """How encoder vectors become what is stored of a text.

    Args:
        centre: (encoder_size,): mean of the catalogue, taken off every vector.
        directions: (k, encoder_size): main directions of the catalogue.
        project: (size, encoder_size), `value` (2, size), `appeal` (encoder_size,): of the towers;
            None before the first fit.
        value: See `project`.
        appeal: See `project`.
    """

    centre: Vectors
    directions: Vectors
    project: Vectors | None = None
    value: Vectors | None = None
    appeal: Vectors | None = None

    def table(self, pretrained: Vectors, tuned: Vectors) -> TextTable:
        """Project texts.

        Args:
            pretrained: (n, encoder_size)
            tuned: (n, encoder_size)

        Returns:
            What is stored of them.
        """
        plain = unit((pretrained - self.centre) @ self.directions.T)
        if self.project is None or self.value is None or self.appeal is None:
            n = len(plain)
            empty = np.zeros((n, 2), dtype=np.float32)
            return TextTable(plain, np.zeros((n, 0), np.float32), empty, empty[:, 0])
        centred = tuned - self.centre
        points = unit(centred @ self.project.T)
        values: Vectors = (points @ self.value.T).astype(np.float32)
        appeal: Vectors = (centred @ self.appeal).astype(np.float32)
        return TextTable(plain, points, values, appeal)


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that grows with the catalogue; replaced as one.

    Args:
        versions: Text and item of each version row.
        hashes: Text row by hash.
        texts: Vectors of each text.
    """

    versions: VersionTable
    hashes: dict[bytes, int]
    texts: TextTable


class FittedInterest:
    """Scores candidates by text; safe to use from many threads while it takes in new items.

    Args:
        items: The catalogue.
        fields: Attributes that become text.
        known: What is stored so far.
        projection: From encoder vectors to stored ones.
        head: Scalars of the towers; None before the first fit.
        encoder: Encodes new texts; None where no item has text.
    """

    columns: tuple[str, ...] = COLUMNS

    def __init__(  # noqa: PLR0917 - a record of parts that are made apart
        self,
        items: ItemSource,
        fields: tuple[str, ...],
        known: Known,
        projection: Projection,
        head: Head | None,
        encoder: TextVectors | None,
    ) -> None:
        self.items = items
        self.fields = fields
        self.known = known
        self.projection = projection
        self.head = head
        self.encoder = encoder
        self._growing = threading.Lock()

    def score(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Score every candidate.

        Returns:
            float32 (n_candidates, 6), columns as in `columns`; NaN where nothing can be said.
        """
        known = self.known
        return score_batch(batch, known.versions, known.texts, self.head)

    def refresh(self) -> None:
        """Take in version rows that the catalogue has gained; only texts never seen are encoded."""
        if len(self.items) == len(self.known.versions):
            return
        with self._growing:
            known = self.known
            growth = extend(known.versions, known.hashes, self.items, self.fields)
            texts = known.texts
            if growth.new_texts and self.encoder is not None:
                added = self.projection.table(*self.encoder.encode(growth.new_texts))
                texts = _joined(texts, added)
            self.known = Known(growth.versions, growth.hashes, texts)

    def item_vectors(self) -> NDArray[np.float32]:
        """Give the vectors of all version rows in the interest space.

        Returns:
            (n_versions, embedding_size), unit length, zero where unknown.
        """
        known = self.known
        points = known.texts.plain if self.head is None else known.texts.points
        vectors = np.zeros((len(known.versions), points.shape[1]), dtype=np.float32)
        speaking = known.versions.texts >= 0
        vectors[speaking] = points[known.versions.texts[speaking]]
        return vectors

    def save(self, folder: Path) -> None:
        """Write the encoder, in the layout of sentence-transformers, and all stored vectors."""
        from recsys.interest.artefacts import save

        save(self, folder)


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Scale rows to length one.

    Returns:
        The same directions; zero rows stay zero.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled


def _joined(first: TextTable, second: TextTable) -> TextTable:
    return TextTable(
        np.concatenate([first.plain, second.plain]),
        np.concatenate([first.points, second.points]),
        np.concatenate([first.values, second.values]),
        np.concatenate([first.appeal, second.appeal]),
    )
