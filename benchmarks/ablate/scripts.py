"""The same texts as an encoder sees them that was not made from their language."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

import xxhash

from recsys.schema import Attributes, AttributeValue

_HAN, _N_HAN = 0x4E00, 4_000
_CYRILLIC, _N_CYRILLIC = 0x0430, 32
_LETTERS: Final = "aeiouy", "bcdfghjklmnpqrstvwxz"
#: Every vowel becomes the next one, every consonant the next one.
_SHIFTED: Final = str.maketrans("".join(_LETTERS), "".join(part[1:] + part[0] for part in _LETTERS))


def han(text: str) -> str:
    """Give every word the same two Han characters wherever it stands, without spaces."""
    words = re.findall(r"[^\W_]+|[.,:;!?]", text.casefold())
    return "".join(_two_characters(word) if word[0].isalpha() else word for word in words)


def cyrillic(text: str) -> str:
    """Write every Latin letter as a Cyrillic one."""
    letters = {ord("a") + i: chr(_CYRILLIC + i * 7 % _N_CYRILLIC) for i in range(26)}
    return text.casefold().translate(letters)


def half_strange(text: str) -> str:
    """Spell half of the words otherwise, as a language does that shares the rest with English."""
    return re.sub(r"[^\W\d_]+", lambda found: _respelled(found[0].casefold()), text)


def written(write: Callable[[str], str]) -> Callable[[Attributes], Attributes]:
    """Write all texts of an item in another way."""

    def change(attributes: Attributes) -> Attributes:
        return {name: _rewritten(value, write) for name, value in attributes.items()}

    return change


def _rewritten(value: AttributeValue, write: Callable[[str], str]) -> AttributeValue:
    if isinstance(value, list):
        return [write(part) if isinstance(part, str) else part for part in value]
    return write(value) if isinstance(value, str) else value


@cache
def _two_characters(word: str) -> str:
    digest = xxhash.xxh3_64_intdigest(word.encode())
    return chr(_HAN + digest % _N_HAN) + chr(_HAN + digest // _N_HAN % _N_HAN)


@cache
def _respelled(word: str) -> str:
    strange = xxhash.xxh3_64_intdigest(word.encode()) % 2 == 0
    return word.translate(_SHIFTED) if strange else word
