"""Which text, which item and which numbers each version row of the catalogue stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import ItemSource
from recsys.interest.numbers import NumberScale, no_scale
from recsys.interest.text import item_parts, text_hash


@dataclass(frozen=True, slots=True)
class Template:
    """How attributes are read.

    Args:
        parts: Attributes that become text, by the part of the text that they become.
        scale: Attributes that are numbers.
    """

    parts: tuple[tuple[str, ...], ...]
    scale: NumberScale


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Version rows in terms of distinct texts, items and numbers.

    Args:
        texts: int32 (n_versions,): row of the version's text; -1: it has none.
        items: int32 (n_versions,): equal numbers are versions of one item.
        numbers: float32 (n_versions, n_numbers): on the template's scale.
        item_numbers: Number of each item id.
    """

    texts: NDArray[np.int32]
    items: NDArray[np.int32]
    numbers: NDArray[np.float32]
    item_numbers: dict[str, int]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Growth:
    """What `extend` found; of a table without rows, all of the longer one.

    Args:
        versions: The new rows, with the items that are new.
        item_ids: Of each new row.
        hashes: Rows of the new texts by hash.
        new_texts: Texts that were not known, each in its parts, in the order of their rows.
    """

    versions: VersionTable
    item_ids: list[str]
    hashes: dict[bytes, int]
    new_texts: list[tuple[str, ...]]


def no_template() -> Template:
    """Read nothing.

    Returns:
        A template without parts and numbers.
    """
    return Template((), no_scale())


def no_versions(template: Template) -> VersionTable:
    """Start with nothing.

    Returns:
        An empty table.
    """
    empty = np.empty(0, dtype=np.int32)
    numbers = np.empty((0, len(template.scale.names)), dtype=np.float32)
    return VersionTable(empty, empty, numbers, {})


def extend(
    versions: VersionTable,
    hashes: Mapping[bytes, int],
    items: ItemSource,
    template: Template,
) -> Growth:
    """Read the version rows that a catalogue has beyond a table, at a cost of their number.

    Args:
        versions: What is known so far; not changed.
        hashes: Text row by hash; not changed.
        items: The catalogue.
        template: How attributes are read.

    Returns:
        What is new.
    """
    new_hashes: dict[bytes, int] = {}
    new_items: dict[str, int] = {}
    texts: list[int] = []
    item_ids: list[str] = []
    item_rows: list[int] = []
    new_texts: list[tuple[str, ...]] = []
    new_rows = range(len(versions), len(items))
    for row in new_rows:
        parts = item_parts(items.attributes(row), template.parts)
        text_row = -1
        if any(parts):
            key = text_hash(*parts)
            text_row = hashes.get(key, -1)
            if text_row < 0:
                text_row = new_hashes.setdefault(key, len(hashes) + len(new_texts))
            if text_row == len(hashes) + len(new_texts):
                new_texts.append(parts)
        item_id = items.item_id(row)
        number = versions.item_numbers.get(item_id, -1)
        if number < 0:
            number = new_items.setdefault(item_id, len(versions.item_numbers) + len(new_items))
        texts.append(text_row)
        item_ids.append(item_id)
        item_rows.append(number)
    found = VersionTable(
        np.array(texts, dtype=np.int32),
        np.array(item_rows, dtype=np.int32),
        template.scale.scaled([items.attributes(row) for row in new_rows]),
        new_items,
    )
    return Growth(found, item_ids, new_hashes, new_texts)
