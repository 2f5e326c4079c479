"""Items become text: which attributes speak, in which order, and how they are joined."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import xxhash

from recsys.features.models import ItemSource
from recsys.schema import Attributes, AttributeValue

#: Versions that are looked at to find the fields; spread evenly over the catalogue.
_SAMPLE: Final = 2_000
#: Longer texts are cut before they are tokenised; an encoder reads at most 512 tokens.
_MAX_CHARACTERS: Final = 2_000
HASH_BYTES: Final = 16
_HEADLINE: Final = re.compile(r"(^|_)(title|name|headline|subject|caption)($|_)", re.IGNORECASE)
_NOT_TEXT_NAME: Final = re.compile(
    r"(^|_)(id|ids|uuid|guid|url|urls|uri|link|image|images|img|photo|path|sku|isbn|ean|hash|key|slug"
    r"|email|phone)($|_)",
    re.IGNORECASE,
)
_NOT_TEXT: Final = re.compile(
    r"\w+://\S*|www\.\S+|\S+@\S+\.\w+|[0-9a-fA-F-]{12,}|\d{4}-\d\d-\d\d\S*|/\S*|"
    r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_-]{5,}"
)


@dataclass(slots=True)
class _FieldCounts:
    n: int = 0
    n_speaking: int = 0
    n_characters: int = 0


def choose_fields(items: ItemSource, named: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Find the attributes that say in words what an item is.

    Strings and lists of strings qualify when most of their values have letters and look like words
    rather than ids, links or dates. Titles come first, then short fields (categories, tags, people)
    before long prose, because an encoder reads only the beginning.

    Args:
        items: The catalogue; a sample of it is read.
        named: The configured fields; used as they are when there are any.

    Returns:
        Attribute names in the order in which they become text; empty when nothing speaks.
    """
    if named:
        return named
    counts: dict[str, _FieldCounts] = defaultdict(_FieldCounts)
    step = max(1, len(items) // _SAMPLE)
    for row in range(0, len(items), step):
        for name, value in items.attributes(row).items():
            _count(counts[name], _words(value))
    found = [
        name
        for name, count in counts.items()
        if not _NOT_TEXT_NAME.search(name) and 2 * count.n_speaking > count.n
    ]
    return tuple(sorted(found, key=lambda name: _place(name, counts[name])))


def item_text(attributes: Attributes, fields: Iterable[str]) -> str:
    """Join an item's fields.

    Args:
        attributes: Of one version.
        fields: Attribute names in order.

    Returns:
        For example `Heat. crime, drama. Los Angeles, heist.`; empty when no field has words.
    """
    parts = [", ".join(_words(attributes.get(name, ""))) for name in fields]
    return ". ".join(part for part in parts if part)[:_MAX_CHARACTERS]


def text_hash(text: str) -> bytes:
    """Identify a text.

    Returns:
        HASH_BYTES bytes; equal texts have equal ones.
    """
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def _words(value: AttributeValue) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for v in values if isinstance(v, str) and (text := " ".join(v.split()))]


def _count(count: _FieldCounts, texts: list[str]) -> None:
    if not texts:
        return
    count.n += 1
    speaking = [t for t in texts if any(c.isalpha() for c in t) and not _NOT_TEXT.fullmatch(t)]
    count.n_speaking += 2 * len(speaking) > len(texts)
    count.n_characters += sum(map(len, texts))


def _place(name: str, count: _FieldCounts) -> tuple[bool, float, str]:
    return (not _HEADLINE.search(name), count.n_characters / count.n, name)
