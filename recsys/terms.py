"""Texts as terms, for matching by words: several languages, Chinese, Japanese and Korean included.

Words are runs of letters and digits, folded (NFKC, case); a run of a script that does not put
spaces between words becomes its overlapping pairs of characters, which needs no dictionary and is
what search engines fall back on. Stems, where asked for, are Snowball's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

#: Han, kana, Hangul, Thai, Lao, Khmer, Burmese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
#: Where signs stand that are written onto the letter before: vowels of Indian scripts, for example.
_MARKED = (range(0x300, 0x3100), range(0xA66F, 0xAC00), range(0xFE00, 0xFE30))
_MARKS = "".join(
    chr(code)
    for codes in _MARKED
    for code in codes
    if unicodedata.category(chr(code)) in {"Mn", "Mc"}
)
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_LETTERS = rf"(?:(?![{_UNSPACED}])[^\W_])"
_RUNS = re.compile(rf"([{_UNSPACED}]+)|({_LETTERS}+(?:[{_MARKS}]+{_LETTERS}*)*)")


@lru_cache(maxsize=50_000)
def terms_of(text: str, language: str = "") -> tuple[str, ...]:
    """Cut a text into terms, and remember them: for texts that come back.

    Args:
        text: Of any language.
        language: Of its stems, such as `english`; empty: words as they are.

    Returns:
        Terms in order, repeated ones too.
    """
    return tuple(cut_terms(text, language))


def is_unspaced(character: str) -> bool:
    """Say whether a character is of a script that does not put spaces between words.

    Returns:
        Whether it is; such scripts are Han, kana, Hangul, Thai, Lao, Khmer and Burmese.
    """
    return _UNSPACED_CHARACTER.match(character) is not None


def cut_terms(text: str, language: str = "") -> list[str]:
    """Cut a text into terms.

    Args:
        text: Of any language.
        language: Of its stems, such as `english`; empty: words as they are.

    Returns:
        Terms in order, repeated ones too.
    """
    stem = _stemmer(language) if language else str
    terms: list[str] = []
    for unspaced, word in _RUNS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if word:
            terms.append(stem(word))
        elif len(unspaced) == 1:
            terms.append(unspaced)
        else:
            terms += [unspaced[i : i + 2] for i in range(len(unspaced) - 1)]
    return terms


def check_language(language: str) -> None:
    """Check that there are stems of a language.

    Raises:
        ValueError: There are none.
    """
    if not language:
        return
    from snowballstemmer import algorithms

    if language not in algorithms():
        text = f"language: found {language!r}; expected one of {', '.join(sorted(algorithms()))}"
        raise ValueError(text)


@lru_cache(maxsize=8)
def _stemmer(language: str) -> Callable[[str], str]:
    from snowballstemmer import stemmer

    found = stemmer(language)

    @lru_cache(maxsize=100_000)
    def stem(word: str) -> str:
        return str(found.stemWord(word))

    return stem
