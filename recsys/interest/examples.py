"""Past impressions as training examples of the interest model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.models import FitView
from recsys.interest.catalogue import VersionTable
from recsys.interest.reading import LIKED, SHOWN, Past, look_up, read_past, speaking

#: Longer lists are thinned: what was acted on stays, the rest is drawn.
_MOST_CANDIDATES: Final = 64
#: An item is believed to be like all others until it was shown about this often.
_PRIOR_SHOWS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Examples:
    """Impressions in time order, padded to one width.

    Args:
        candidates: int32 (n, width): version rows; -1: no text, or padding.
        present: bool (n, width): False where padded.
        targets: float32 (n, width): graded labels as shares of their sum.
        click_rates: float32 (n, width): log odds that the candidate is acted on when shown, from
            earlier examples only.
        liked: What the user acted on before.
        passed_over: What the user was shown before and did nothing with; (n, 0) where nobody was.
        rates: float32 (n_items + 1,): log odds that an item is acted on when shown, from all
            examples; the last one is that of all items together.
    """

    candidates: NDArray[np.int32]
    present: NDArray[np.bool_]
    targets: NDArray[np.float32]
    click_rates: NDArray[np.float32]
    liked: Past
    passed_over: Past
    rates: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.candidates)


def build_examples(view: FitView, versions: VersionTable, most: int) -> Examples:
    """Turn a span of time into examples; impressions without a grade above zero are left out.

    Args:
        view: The span.
        versions: The catalogue.
        most: Impressions that are learned from; of more the newest. Click rates are of all.

    Returns:
        Examples, oldest first.
    """
    batch = view.batch
    sizes = np.diff(batch.offsets)
    requests = np.repeat(np.arange(len(batch)), sizes)
    items = look_up(versions.items, batch.versions)
    rates = _click_rates(items, requests, view.grades > 0)
    sums = np.bincount(requests, weights=view.grades, minlength=len(batch))
    teaching = np.flatnonzero(sums > 0)[-most:]
    kept = _thin(view.grades, batch.offsets, teaching, np.random.default_rng(view.seed))
    width = max((len(rows) for rows in kept), default=1)
    places = np.full((len(teaching), width), -1, dtype=np.int64)
    for row, chosen in enumerate(kept):
        places[row, : len(chosen)] = chosen
    present = places >= 0
    grades = np.where(present, _padded(view.grades, places), 0.0)
    liked, passed_over = read_past(
        batch.histories[LIKED].take(teaching), batch.histories[SHOWN].take(teaching), versions
    )
    if not (passed_over.rows >= 0).any():
        # A log without impressions. Shorter pasts are not cut: dropout would be drawn otherwise.
        nothing = passed_over.rows[:, :0], passed_over.types[:, :0], passed_over.ages[:, :0]
        passed_over = Past(*nothing)
    return Examples(
        candidates=np.where(present, _padded(speaking(batch.versions, versions), places), -1),
        present=present,
        targets=(grades / np.maximum(grades.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32),
        click_rates=np.where(present, _padded(rates, places), 0.0).astype(np.float32),
        liked=liked,
        passed_over=passed_over,
        rates=_item_rates(items, view.grades > 0, len(versions.item_numbers)),
    )


def _thin(
    grades: NDArray[np.float32],
    offsets: NDArray[np.int64],
    requests: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    kept = []
    for request in requests.tolist():
        rows = np.arange(offsets[request], offsets[request + 1])
        if len(rows) > _MOST_CANDIDATES:
            order = np.argsort(-grades[rows] + 0.5 * rng.random(len(rows)), kind="stable")
            rows = np.sort(rows[order[:_MOST_CANDIDATES]])
        kept.append(rows)
    return kept


def _item_rates(
    items: NDArray[np.int32], acted_on: NDArray[np.bool_], n_items: int
) -> NDArray[np.float32]:
    known = items >= 0
    shows = np.bincount(items[known], minlength=n_items)
    actions = np.bincount(items[known], weights=acted_on[known], minlength=n_items)
    overall = float(acted_on.mean()) if len(acted_on) else 0.0
    rates = (actions + _PRIOR_SHOWS * overall) / (shows + _PRIOR_SHOWS)
    return _log_odds(np.append(rates, overall))


def _log_odds(rates: NDArray[np.float64]) -> NDArray[np.float32]:
    bounded = np.clip(rates, 1e-3, 1.0 - 1e-3)
    return np.log(bounded / (1.0 - bounded)).astype(np.float32)


def _click_rates(
    items: NDArray[np.int32], requests: NDArray[np.int64], acted_on: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Count how often a candidate was shown and acted on in earlier requests.

    What an item's click rate explains is not the text's to explain: with this as an offset the
    model learns what the ranker does not know already.

    Returns:
        float32 (n_candidates,): smoothed log odds.
    """
    overall = float(acted_on.mean()) if len(acted_on) else 0.0
    order = np.lexsort((requests, items))
    ordered, actions = items[order], acted_on[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(order)])
    shows = np.arange(len(order)) - np.repeat(starts, lengths)
    before = np.cumsum(actions) - actions
    before -= np.repeat(before[starts], lengths)
    rate = np.empty(len(order))
    rate[order] = (before + _PRIOR_SHOWS * overall) / (shows + _PRIOR_SHOWS)
    rate[items < 0] = overall
    return _log_odds(rate)


def _padded(values: NDArray[np.generic], places: NDArray[np.int64]) -> NDArray[np.generic]:
    return values[np.maximum(places, 0)]
