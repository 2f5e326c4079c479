"""Scores from stored vectors, held to plain numpy for pasts of every length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.features.models import Histories, ScoringBatch
from recsys.interest.buckets import N_AGES, N_TYPES
from recsys.interest.catalogue import VersionTable
from recsys.interest.parts import Known
from recsys.interest.reading import LIKED, SHOWN, read_past
from recsys.interest.scoring import score_batch
from recsys.interest.stored_vectors import Head, TextTable

N_VERSIONS, PLAIN, SIZE, TRAITS = 60, 21, 10, 7


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_model(rng: np.random.Generator) -> tuple[Known, Head]:
    """A catalogue in which every seventh version has no text, and a head of ordinary size."""
    rows = np.arange(N_VERSIONS, dtype=np.int32)
    rows[::7] = -1
    versions = VersionTable(
        rows, np.arange(N_VERSIONS, dtype=np.int32), np.zeros((N_VERSIONS, 0), np.float32), {}
    )
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    texts = TextTable(
        unit(normal(N_VERSIONS, PLAIN)), unit(normal(N_VERSIONS, SIZE)), normal(N_VERSIONS, 2),
        normal(N_VERSIONS), normal(N_VERSIONS, TRAITS),
    )  # fmt: skip
    positive = lambda *shape: np.exp(normal(*shape))  # noqa: E731
    head = Head(
        mix=3 * normal(4), temperature=30 * rng.random(2, np.float32), shrinkage=positive(2),
        type_bias=normal(N_TYPES), age_bias=normal(2, N_AGES), taste_weights=positive(2),
        ridge=positive(1), scale=positive(1), constant=positive(1), expected=normal(2),
    )  # fmt: skip
    traits, rates = normal(N_VERSIONS, TRAITS), normal(N_VERSIONS)
    return Known(versions, {}, texts, traits, rates), head


def make_batch(rng: np.random.Generator, n_liked: int, n_shown: int) -> ScoringBatch:
    def past(n: int) -> Histories:
        shape = (2, n)
        rows = rng.integers(-1, N_VERSIONS, shape, np.int32)
        return Histories(
            rows, rows, rng.integers(0, 9, shape, np.int16),
            (1e6 * rng.random(shape)).astype(np.float32), np.full(shape, np.nan, np.float32),
        )  # fmt: skip

    candidates = rng.integers(-1, N_VERSIONS, 9).astype(np.int32)
    offsets = np.array([0, 5, 9])
    histories = {LIKED: past(n_liked), SHOWN: past(n_shown)}
    return ScoringBatch(candidates, candidates, offsets, histories)


def attended(known, head, side, past, points):
    """The mean and the attended similarity to one kind of past, weighted."""
    rows, types, ages = past
    texts = known.versions.texts[rows]
    log_weight = known.texts.values[texts, side] + head.age_bias[side][ages]
    if side == 0:
        log_weight = log_weight + head.type_bias[types]
    similarity = points @ known.texts.points[texts].T
    mean = similarity @ np.exp(log_weight) / (len(rows) + head.shrinkage[side])
    logits = similarity * head.temperature[side] + log_weight
    attention = np.exp(logits - logits.max(axis=1, keepdims=True))
    by_attention = (attention * similarity).sum(axis=1) / attention.sum(axis=1)
    return head.mix[2 * side] * mean + head.mix[2 * side + 1] * by_attention


def taste(known, head, pasts):
    """Coefficients of the regression on a past."""
    rows = np.concatenate([past[0] for past in pasts])
    sides = np.repeat([0, 1], [len(past[0]) for past in pasts])
    traits = np.column_stack([known.traits[rows], np.full(len(rows), head.constant[0])])
    odds = head.expected[0] * known.rates[rows] + head.expected[1]
    surprise = (sides == 0) - 1.0 / (1.0 + np.exp(-odds.astype(np.float64)))
    heavy = traits.T.astype(np.float64) * head.taste_weights[sides]
    system = heavy @ traits + head.ridge[0] * np.eye(traits.shape[1])
    return head.scale[0] * np.linalg.solve(system, heavy @ surprise)[:-1]


def expected_of(version, known, head, pasts):
    """The five scores of one candidate that has text."""
    found = np.full(5, np.nan)
    text, n_past = known.versions.texts[version], sum(len(past[0]) for past in pasts)
    if len(pasts[0][0]):
        near = known.texts.plain[known.versions.texts[pasts[0][0]]] @ known.texts.plain[text]
        found[3:] = near.mean(), near.max()
    if head is not None:
        found[2] = known.texts.appeal[text]
    if head is not None and n_past:
        point = known.texts.points[[text]]
        sides = [
            attended(known, head, i, past, point)[0] for i, past in enumerate(pasts) if len(past[0])
        ]
        found[1] = known.traits[version] @ taste(known, head, pasts)
        found[0] = found[1] + sum(sides)
    return found


def expected_scores(batch, known, head):
    scores = np.full((len(batch.versions), 5), np.nan)
    both = read_past(batch.histories[LIKED], batch.histories[SHOWN], known.versions)
    requests = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))
    for place, (request, version) in enumerate(zip(requests, batch.versions, strict=True)):
        if version >= 0 and known.versions.texts[version] >= 0:
            there = [past.rows[request] >= 0 for past in both]
            pasts = [
                tuple(part[request][kept] for part in past)
                for past, kept in zip(both, there, strict=True)
            ]
            scores[place] = expected_of(version, known, head, pasts)
    return scores


@settings(max_examples=150)
@given(seed=st.integers(0, 10**6), n_liked=st.integers(0, 40), n_shown=st.integers(0, 70))
def test_scores_are_those_of_plain_numpy(seed, n_liked, n_shown):
    rng = np.random.default_rng(seed)
    known, head = make_model(rng)
    batch = make_batch(rng, n_liked, n_shown)
    for fitted in (head, None):
        found, expected = score_batch(batch, known, fitted), expected_scores(batch, known, fitted)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-3, nan_ok=True)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), n_liked=st.integers(0, 40), n_shown=st.integers(0, 70))
def test_a_score_does_not_depend_on_what_else_is_scored(seed, n_liked, n_shown):
    rng = np.random.default_rng(seed)
    known, head = make_model(rng)
    batch = make_batch(rng, n_liked, n_shown)
    together = score_batch(batch, known, head)
    requests = np.repeat([0, 1], np.diff(batch.offsets))
    for place, request in enumerate(requests):
        alone = batch.versions[[place]]
        past = {name: found.take(np.array([request])) for name, found in batch.histories.items()}
        one = ScoringBatch(alone, alone, np.array([0, 1]), past)
        np.testing.assert_array_equal(score_batch(one, known, head)[0], together[place])


def test_what_a_ridge_barely_holds_is_no_missing_taste():
    rng = np.random.default_rng(1)
    known, head = make_model(rng)
    known.traits[:] = known.traits[:1] * 1e3  # everything is alike, and large
    head = head._replace(ridge=np.full(1, 1e-6, np.float32))
    found = score_batch(make_batch(rng, 40, 70), known, head)
    assert np.isfinite(found[~np.isnan(found[:, 2])]).all()
