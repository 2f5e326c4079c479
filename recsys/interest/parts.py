"""What a fitted text-interest model is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.interest.catalogue import VersionTable
from recsys.interest.scoring import Head, TextTable

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


@dataclass(frozen=True, slots=True)
class Parts:
    """All of a fitted model but the catalogue.

    Args:
        fields: Attributes that become text.
        known: What is stored so far.
        projection: From encoder vectors to stored ones.
        head: Scalars of the towers; None before the first fit.
        encoder: Encodes new texts; None where no item has text.
    """

    fields: tuple[str, ...]
    known: Known
    projection: Projection
    head: Head | None = None
    encoder: TextVectors | None = None


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Scale rows to length one.

    Returns:
        The same directions; zero rows stay zero.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled


def joined(first: TextTable, second: TextTable) -> TextTable:
    """Put texts behind one another.

    Returns:
        A table of both.
    """
    return TextTable(
        np.concatenate([first.plain, second.plain]),
        np.concatenate([first.points, second.points]),
        np.concatenate([first.values, second.values]),
        np.concatenate([first.appeal, second.appeal]),
    )
