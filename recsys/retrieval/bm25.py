"""Matches a few words against many short texts: how many of them occur, and BM25.

Texts are kept as rows of term codes. A query marks its few terms in a table over all codes, and a
compiled loop looks the terms of all candidates up there: no search, no sets, no strings.

Source: robertson2009 in docs/references.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.features.growable import Growable


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is known of the texts that were there at the time of a fit.

    Args:
        n_texts: How many.
        mean_terms: Terms of one, on average.
        n_with: In how many of them a term occurs.
    """

    n_texts: int
    mean_terms: float
    n_with: dict[str, int]


def describe(texts: Sequence[tuple[str, ...]]) -> Corpus:
    """Count a corpus.

    Args:
        texts: Terms of each text that has any.

    Returns:
        The counts.
    """
    n_with = Counter(term for terms in texts for term in set(terms))
    mean_terms = sum(map(len, texts)) / max(len(texts), 1)
    return Corpus(len(texts), mean_terms, dict(n_with))


class TermTable:
    """Texts as rows of distinct term codes with their counts; grows at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._terms = Growable(np.int32, 0)
        self._counts = Growable(np.float32, 0.0)
        self._starts = Growable(np.int64, 0)
        self._starts.resize(1)
        self._lengths = Growable(np.float32, 0.0)

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, terms: tuple[str, ...]) -> None:
        """Add the text of the next row; one without terms has no text."""
        counted = Counter(terms)
        codes = [self._codes.setdefault(term, len(self._codes)) for term in counted]
        self._terms.extend(np.array(codes, dtype=np.int32))
        self._counts.extend(np.array(list(counted.values()), dtype=np.float32))
        self._starts.extend(np.array([len(self._terms)], dtype=np.int64))
        self._lengths.extend(np.array([len(terms)], dtype=np.float32))

    def match(
        self, query: tuple[str, ...], rows: NDArray[np.int32], corpus: Corpus
    ) -> NDArray[np.float32]:
        """Match one query.

        Args:
            query: Its terms.
            rows: int32 (n,): of the table; negative or too large ones have no text.
            corpus: Weighs the terms.

        Returns:
            float32 (n, 2): share of the query's distinct terms that occur, and BM25; NaN where
            there is no text, everywhere for a query without terms.
        """
        found = np.full((len(rows), 2), np.nan, dtype=np.float32)
        if not query or not len(self):
            return found
        from recsys.retrieval.bm25_kernels import match_rows

        distinct = dict.fromkeys(query)
        weights = np.zeros(len(self._codes), dtype=np.float32)
        for term in distinct:
            if term in self._codes:
                weights[self._codes[term]] = _rarity(corpus, term)
        table = (self._starts.rows, self._terms.rows, self._counts.rows, self._lengths.rows)
        scale = (len(distinct), max(corpus.mean_terms, 1.0))
        match_rows(table, rows, (weights, *scale), found)
        return found


def _rarity(corpus: Corpus, term: str) -> float:
    n_with = corpus.n_with.get(term, 0)
    return float(np.log1p((corpus.n_texts - n_with + 0.5) / (n_with + 0.5)))
