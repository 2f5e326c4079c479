"""Terms of several languages, and BM25 against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.retrieval.bm25 import TermTable, describe
from recsys.terms import terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Red-Shoes, size 42!", ("red", "shoes", "size", "42")),
        ("红色跑鞋", ("红色", "色跑", "跑鞋")),
        ("鞋", ("鞋",)),
        ("Nike跑鞋 2024", ("nike", "跑鞋", "2024")),
        ("ランニング", ("ラン", "ンニ", "ニン", "ング")),
        ("\uff26\uff35\uff2c\uff2c Straße", ("full", "strasse")),
        ("большой Дом", ("большой", "дом")),
        ("हिन्दी फिल्में", ("हिन्दी", "फिल्में")),
        ("தமிழ் படம்", ("தமிழ்", "படம்")),
        ("مُحَمَّد عربي", ("مُحَمَّد", "عربي")),
        ("__ --", ()),
        ("", ()),
    ],
)
def test_texts_become_terms(text, terms) -> None:
    assert terms_of(text) == terms


TEXTS = st.lists(st.lists(st.sampled_from("abcde"), max_size=6).map(tuple), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.sampled_from("abcxy"), max_size=4).map(tuple))
def test_scores_are_those_of_the_formula(texts, query) -> None:
    corpus = describe([terms for terms in texts if terms])
    table = TermTable()
    for terms in texts:
        table.append(terms)
    found = table.match(query, np.arange(-1, len(texts) + 1, dtype=np.int32), corpus)
    assert np.isnan(found[[0, -1]]).all()
    for terms, (share, score) in zip(texts, found[1:-1].tolist(), strict=True):
        if not (terms and query):
            assert math.isnan(share)
            continue
        distinct = set(query)
        assert share == pytest.approx(len(distinct & set(terms)) / len(distinct), rel=1e-5)
        assert score == pytest.approx(plain_bm25(distinct, terms, texts), rel=1e-4, abs=1e-6)


def plain_bm25(query, terms, texts) -> float:
    there = [text for text in texts if text]
    mean = max(sum(map(len, there)) / len(there), 1.0)
    total = 0.0
    for term in query:
        n_with = sum(term in text for text in there)
        rarity = math.log(1 + (len(there) - n_with + 0.5) / (n_with + 0.5))
        count = terms.count(term)
        total += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(terms) / mean))
    return total
