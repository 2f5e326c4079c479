"""Items become text: which attributes speak, in which order, and how they become parts.

Each field is a text of its own, encoded by itself: a user may care for the director and not for the
plot, and an encoder that reads both at once gives one vector in which neither can be told apart.
Values that come back (a genre, a name) are encoded once.
"""

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
#: An item's vector is as long as this many vectors of the encoder, at most.
MOST_PARTS: Final = 6
_HEADLINE: Final = re.compile(
    r"(^|_)(title|name|headline|subject|caption|tit(el|re|olo|ulo)|título|nom|nombre|название"
    r"|заголовок|标题|標題|题目|名称|名稱|タイトル|見出し|제목|이름)($|_)",
    re.IGNORECASE,
)
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
    step = max(1, len(items) // _SAMPLE)
    return speaking_fields(items.attributes(row) for row in range(0, len(items), step))


def speaking_fields(sample: Iterable[Attributes]) -> tuple[str, ...]:
    """Find the attributes that say in words what an item is, as `choose_fields` does.

    Args:
        sample: Attributes of some items.

    Returns:
        Attribute names in the order in which they become text; empty when nothing speaks.
    """
    counts: dict[str, _FieldCounts] = defaultdict(_FieldCounts)
    for attributes in sample:
        for name, value in attributes.items():
            _count(counts[name], _words(value))
    found = [
        name
        for name, count in counts.items()
        if not _NOT_TEXT_NAME.search(name) and 2 * count.n_speaking > count.n
    ]
    return tuple(sorted(found, key=lambda name: _place(name, counts[name])))


def part_fields(fields: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Divide fields into the parts that are encoded one by one.

    Args:
        fields: In order.

    Returns:
        One field each; where there are more than `MOST_PARTS`, the first ones after the headlines,
        which are the shortest, share a part.
    """
    n_shared = len(fields) - MOST_PARTS + 1
    if n_shared <= 1:
        return tuple((name,) for name in fields)
    n_headlines = sum(1 for name in fields[: MOST_PARTS - 2] if _HEADLINE.search(name))
    shared = fields[n_headlines : n_headlines + n_shared]
    before, after = fields[:n_headlines], fields[n_headlines + n_shared :]
    return (*((name,) for name in before), shared, *((name,) for name in after))


def item_parts(attributes: Attributes, parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Turn an item's fields into text.

    Args:
        attributes: Of one version.
        parts: Attribute names of each part.

    Returns:
        One text per part, for example `Heat`, `crime, drama`; empty where nothing has words.
    """
    return tuple(item_text(attributes, fields) for fields in parts)


def item_text(attributes: Attributes, fields: Iterable[str]) -> str:
    """Join some fields of an item.

    Args:
        attributes: Of one version.
        fields: Attribute names in order.

    Returns:
        For example `Heat. crime, drama. Los Angeles, heist.`; empty when no field has words.
    """
    parts = [", ".join(_words(attributes.get(name, ""))) for name in fields]
    joined = ". ".join(part for part in parts if part)[:_MAX_CHARACTERS]
    # JSON can carry halves of characters, which no tokenizer takes.
    return joined.encode("utf-8", "replace").decode("utf-8")


def text_hash(*parts: str) -> bytes:
    """Identify a text, or one in several parts.

    Returns:
        HASH_BYTES bytes; equal texts have equal ones.
    """
    return xxhash.xxh3_128_digest("\0".join(parts).encode("utf-8", "surrogatepass"))


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
