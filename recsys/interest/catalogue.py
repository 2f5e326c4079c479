"""Which text and which item each version row of the catalogue stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ItemSource
from recsys.interest.text import item_text, text_hash


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Version rows in terms of distinct texts and items.

    Args:
        texts: int32 (n_versions,): row of the version's text; -1: it has none.
        items: int32 (n_versions,): equal numbers are versions of one item.
        item_numbers: Number of each item id.
    """

    texts: NDArray[np.int32]
    items: NDArray[np.int32]
    item_numbers: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Growth:
    """What `extend` found.

    Args:
        versions: The longer table.
        hashes: Text rows by hash, the new ones included.
        new_texts: Texts that were not known, in the order of their rows.
    """

    versions: VersionTable
    hashes: dict[bytes, int]
    new_texts: list[str]


def no_versions() -> VersionTable:
    """Start with nothing.

    Returns:
        An empty table.
    """
    empty = np.empty(0, dtype=np.int32)
    return VersionTable(empty, empty, {})


def extend(
    versions: VersionTable,
    hashes: Mapping[bytes, int],
    items: ItemSource,
    fields: tuple[str, ...],
) -> Growth:
    """Take in the version rows that a catalogue has beyond a table.

    Args:
        versions: What is known so far; not changed.
        hashes: Text row by hash; not changed.
        items: The catalogue.
        fields: Attributes that become text.

    Returns:
        The longer table and the texts that are new.
    """
    known, numbers = dict(hashes), dict(versions.item_numbers)
    texts: list[int] = []
    item_rows: list[int] = []
    new_texts: list[str] = []
    for row in range(len(versions), len(items)):
        text = item_text(items.attributes(row), fields)
        text_row = -1
        if text:
            key = text_hash(text)
            text_row = known.setdefault(key, len(known))
            if text_row == len(hashes) + len(new_texts):
                new_texts.append(text)
        texts.append(text_row)
        item_rows.append(numbers.setdefault(items.item_id(row), len(numbers)))
    longer = VersionTable(
        np.concatenate([versions.texts, np.array(texts, dtype=np.int32)]),
        np.concatenate([versions.items, np.array(item_rows, dtype=np.int32)]),
        numbers,
    )
    return Growth(longer, known, new_texts)
