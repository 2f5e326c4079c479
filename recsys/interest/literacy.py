"""Whether an encoder can read a catalogue: how much of its words it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from recsys.terms import is_unspaced

#: Letters of a piece of a word that means something. A tokenizer that does not know a language cuts
#: its words into letters, syllables at best.
_LETTERS_OF_A_PIECE: Final = 3.0
#: A character of a script without spaces says as much as this many letters.
_LETTERS_OF_A_CHARACTER: Final = 3


def known_share(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> float:  # noqa: ANN401 - a class per model
    """Measure how much of some texts an encoder's tokenizer has pieces with a meaning for.

    A word is known when it is one piece, or when its pieces have three letters each on average, and
    none stands for something unknown. English in the packaged encoder: 0.8 (names) to 1; German,
    Danish, Spanish: 0.3 to 0.7; Russian, Chinese, Thai: 0 to 0.3.

    Args:
        tokenizer: Of Hugging Face.
        texts: A sample.
        max_tokens: Longer texts are cut.

    Returns:
        Share of letters that stand in known words; 1 where there are no letters, or where the
        tokenizer does not tell words.
    """
    if not getattr(tokenizer, "is_fast", False) or not texts:
        return 1.0
    found = tokenizer(
        list(texts), truncation=True, max_length=max_tokens, return_offsets_mapping=True
    )
    known = total = 0
    for number, text in enumerate(texts):
        for start, stop, pieces in _words(found, number, tokenizer.unk_token_id):
            letters = sum(map(_weight, text[start:stop]))
            total += letters
            if pieces == 1 or letters >= _LETTERS_OF_A_PIECE * pieces:
                known += letters
    return known / total if total else 1.0


def _words(found: Any, number: int, unknown: int | None) -> list[tuple[int, int, float]]:  # noqa: ANN401 - see above
    """Put the pieces of a text's words together.

    Returns:
        First character, the one after the last, and pieces; infinitely many where one is unknown.
    """
    words: dict[int, tuple[int, int, float]] = {}
    rows = zip(
        found["input_ids"][number],
        found["offset_mapping"][number],
        found.word_ids(number),
        strict=True,
    )
    for token, (start, stop), word in rows:
        if word is not None:
            first, _, pieces = words.get(word, (start, stop, 0.0))
            words[word] = first, stop, pieces + (float("inf") if token == unknown else 1.0)
    return list(words.values())


def _weight(character: str) -> int:
    if not character.isalpha():
        return 0
    return _LETTERS_OF_A_CHARACTER if is_unspaced(character) else 1
