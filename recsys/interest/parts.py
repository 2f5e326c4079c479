"""What a fitted text-interest model is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.interest.catalogue import Template, VersionTable
from recsys.interest.stored_vectors import Head, NumberTraits, TextTable, rows_or_zeros
from recsys.interest.text import text_hash

Vectors = NDArray[np.float32]

#: Directions in which plain similarities are taken.
PLAIN_SIZE: Final = 128


class TextVectors(Protocol):
    """Turns texts into vectors both ways."""

    def encode(self, texts: Sequence[tuple[str, ...]]) -> tuple[Vectors, Vectors]:
        """Encode texts: as pretrained and as tuned, each (n, n_parts, part_size).

        A part is zero where it has no words. What the encoder says of it is of unit length, what
        its words say beside that is at most.
        """
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what is needed to go on encoding; say what the files do not."""
        ...


@dataclass(frozen=True, slots=True)
class Projection:
    """How encoder vectors become what is stored of a text.

    Args:
        centre: (n_parts, part_size): means of the catalogue, taken off every part that is there.
        directions: (k, n_parts * part_size): main directions of the catalogue, strongest first.
        project: (size, k), `value` (2, size), `appeal` (k,), `taste` (n_traits, k): of the towers;
            None before the first fit.
        value: See `project`.
        appeal: See `project`.
        taste: See `project`.
    """

    centre: Vectors
    directions: Vectors
    project: Vectors | None = None
    value: Vectors | None = None
    appeal: Vectors | None = None
    taste: Vectors | None = None

    def table(self, pretrained: Vectors, tuned: Vectors) -> TextTable:
        """Project texts.

        Args:
            pretrained: (n, n_parts, part_size)
            tuned: (n, n_parts, part_size)

        Returns:
            What is stored of them.
        """
        plain = unit(flat(pretrained, self.centre) @ self.directions[:PLAIN_SIZE].T)
        if self.project is None or self.value is None or self.appeal is None or self.taste is None:
            n = len(plain)
            empty = np.zeros((n, 2), dtype=np.float32)
            return TextTable(plain, empty[:, :0], empty, empty[:, 0], empty[:, :0])
        vectors = flat(tuned, self.centre) @ self.directions.T
        points = unit(vectors @ self.project.T)
        return TextTable(
            plain,
            points,
            (points @ self.value.T).astype(np.float32),
            (vectors @ self.appeal).astype(np.float32),
            (vectors @ self.taste.T).astype(np.float32),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that grows with the catalogue; replaced as one.

    Args:
        versions: Text, item and numbers of each version row.
        hashes: Text row by hash.
        texts: Vectors of each text.
        traits: float32 (n_versions, n): what a taste is made of: directions of each version's text,
            zero without one, and traits of its numbers.
        rates: float32 (n_versions,): log odds that the item is acted on when shown.
    """

    versions: VersionTable
    hashes: dict[bytes, int]
    texts: TextTable
    traits: Vectors
    rates: Vectors


@dataclass(frozen=True, slots=True)
class Parts:
    """All of a fitted model but the catalogue.

    Args:
        template: How attributes are read.
        known: What is stored so far.
        projection: From encoder vectors to stored ones.
        head: Scalars of the towers; None before the first fit.
        numbers: From an item's numbers to traits; None before the first fit.
        encoder: Encodes new texts; None where no item has text.
    """

    template: Template
    known: Known
    projection: Projection
    head: Head | None = None
    numbers: NumberTraits | None = None
    encoder: TextVectors | None = None


def make_known(
    versions: VersionTable,
    hashes: dict[bytes, int],
    texts: TextTable,
    numbers: NumberTraits | None,
) -> Known:
    """Describe the versions of a catalogue.

    Returns:
        What scores are made of.
    """
    ids = list(versions.item_numbers)
    item_ids = [ids[number] for number in versions.items.tolist()]
    of_texts = rows_or_zeros(texts.taste, versions.texts)
    return Known(versions, hashes, texts, *described(versions, item_ids, of_texts, numbers))


def described(
    versions: VersionTable,
    item_ids: Sequence[str],
    of_texts: Vectors,
    numbers: NumberTraits | None,
) -> tuple[Vectors, Vectors]:
    """Describe version rows.

    Args:
        versions: The rows.
        item_ids: Of each.
        of_texts: (n_versions, n_traits): directions of each one's text, zero without one.
        numbers: None before the first fit.

    Returns:
        `traits` and `rates` of them, as in `Known`.
    """
    if numbers is None:
        return of_texts, np.zeros(len(versions), dtype=np.float32)
    traits = np.concatenate([of_texts, numbers.traits(versions.numbers)], axis=1)
    return traits, numbers.rates_of([text_hash(item_id) for item_id in item_ids])


def flat(vectors: Vectors, centre: Vectors) -> Vectors:
    """Put the parts of texts side by side.

    Args:
        vectors: (n, n_parts, part_size); a part without words is zero.
        centre: (n_parts, part_size)

    Returns:
        (n, n_parts * part_size): centred, missing parts zero.
    """
    there = (vectors != 0.0).any(axis=2, keepdims=True)
    centred = (vectors - centre) * there / np.sqrt(vectors.shape[1])
    found: Vectors = centred.reshape(len(vectors), -1).astype(np.float32)
    return found


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Scale rows to length one.

    Returns:
        The same directions; zero rows stay zero.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled
