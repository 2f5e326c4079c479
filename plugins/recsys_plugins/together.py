"""What goes together: items that people act on after, or at once with, the user's last ones.

A feature model of counted pairs (recsys/retrieval/cooccurrence.py), and a candidate source that
proposes what goes best with the user's last items.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.best import best_rows
from recsys.features.models import (
    FeatureModel,
    FittedFeatureModel,
    FitView,
    ItemSource,
    ScoringBatch,
)
from recsys.features.vocabulary import ANY_INTERACTION, Aggregate, Feature, last_items
from recsys.hookspecs import CandidateSource, SourceView, hookimpl
from recsys.retrieval.cooccurrence import (
    Neighbours,
    Pairs,
    add_pairs,
    count_pairs,
    near_to,
    neighbours,
    no_pairs,
    score,
)

_NAME = "together"
_DESCRIPTIONS = {
    "together_mean": "how well the item goes with all that the user acted on last",
    "together_best": "how well it goes with the one of them that it goes with best",
    "together_newest": "how well it goes with the newest of them",
}
_LAST = "together_last_items"


class Settings(Section):
    """The table `[settings.together]`."""

    last: int = Field(default=30, ge=1, le=200, description="items of a user's past that count")
    neighbours: int = Field(default=200, ge=1, description="kept of each item")


@dataclass(frozen=True, slots=True)
class Counted:
    """What a fit goes on from.

    Args:
        pairs: Counts of item codes.
        n_requests: Requests that were counted, from the oldest on.
    """

    pairs: Pairs
    n_requests: int


class FittedTogether:
    """Similar items of items; what came after the fit is unknown to it.

    Args:
        items: The catalogue.
        ids: Items by code.
        table: Neighbours by code.
        counted: None for a model that was loaded.
    """

    columns: tuple[str, ...] = tuple(_DESCRIPTIONS)

    def __init__(
        self, items: ItemSource, ids: list[str], table: Neighbours, counted: Counted | None = None
    ) -> None:
        self.ids, self.counted = ids, counted
        self._items, self._table = items, table
        self._codes = {item_id: code for code, item_id in enumerate(ids)}
        self._of_rows = np.zeros(0, dtype=np.int32)
        self._rows = np.full(len(ids), -1, dtype=np.int32)
        self._growing = threading.Lock()
        self.refresh()

    def score(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Score every candidate.

        Returns:
            float32 (n_candidates, 3), columns as in `columns`; NaN where the item, or all that the
            user acted on last, was not acted on when this was fitted.
        """
        past = self._known(batch.histories[_LAST].items)
        return score(self._table, self._known(batch.items), batch.offsets, past)

    def proposals(self, last: NDArray[np.int32], n: int) -> NDArray[np.int32]:
        """List what goes with a user's last items.

        Args:
            last: int32 (1, n): item rows of the last items.
            n: How many at most.

        Returns:
            int32 (<= n,): item rows, best first.
        """
        past = self._known(last)
        near = near_to(self._table, past)
        offsets = np.array([0, len(near)], dtype=np.int64)
        means = score(self._table, near, offsets, past)[:, 0]
        rows = self._rows[near]
        means[~((means > 0) & (rows >= 0))] = np.nan
        return rows[best_rows(means, n)]

    def refresh(self) -> None:
        """Look up the items that the catalogue has gained."""
        with self._growing:
            known = self._of_rows
            added = self._items.ids[len(known) :]
            codes = np.array([self._codes.get(item_id, -1) for item_id in added], dtype=np.int32)
            fresh = np.flatnonzero(codes >= 0)
            self._rows[codes[fresh]] = len(known) + fresh
            self._of_rows = np.concatenate([known, codes])

    def save(self, folder: Path) -> None:
        """Write ids and neighbours."""
        (folder / "items.json").write_text(json.dumps(self.ids), encoding="utf-8")
        table = self._table
        np.savez(
            folder / "neighbours.npz",
            starts=table.starts,
            items=table.items,
            similarities=table.similarities,
        )

    def _known(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        return _look_up(self._of_rows, rows)


def _look_up(codes: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.int32]:
    # Rows beyond the table are items that are newer than the model: it knows nothing of them.
    known = (rows >= 0) & (rows < len(codes))
    if not known.any():
        return np.full(rows.shape, -1, dtype=np.int32)
    found: NDArray[np.int32] = codes[np.where(known, rows, 0)]
    return np.where(known, found, np.int32(-1))


class TogetherModel:
    """Counts pairs forward in time: each fit adds the requests that the one before had not seen.

    Args:
        settings: How far to look back, and how many neighbours to keep.
    """

    name = _NAME
    columns: tuple[str, ...] = tuple(_DESCRIPTIONS)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read a user's last items."""
        return (last_items(_LAST, ANY_INTERACTION, n=self._settings.last),)

    def unfitted(self, items: ItemSource) -> None:
        """Offer nothing: there is nothing to say before anything was counted."""
        del items

    def fit(self, view: FitView, previous: FittedFeatureModel | None = None) -> FittedFeatureModel:
        """Count the pairs of a span of time.

        Args:
            view: The span.
            previous: A model of an earlier span that begins where this one does.

        Returns:
            The fitted model.
        """
        known = previous if isinstance(previous, FittedTogether) else None
        counted = (known.counted if known else None) or Counted(no_pairs(), 0)
        ids = list(known.ids) if known else []
        batch, first = view.batch, counted.n_requests
        low = int(batch.offsets[first])
        chosen = low + np.flatnonzero(view.grades[low:] > 0)
        offsets = np.searchsorted(chosen, batch.offsets[first:]).astype(np.int64)
        past = batch.histories[_LAST].items[first:]
        codes = _give_codes(ids, view.items, batch.items[chosen], past)
        fresh = count_pairs(_look_up(codes, batch.items[chosen]), offsets, _look_up(codes, past))
        pairs = add_pairs(counted.pairs, fresh)
        table = neighbours(pairs, len(ids), self._settings.neighbours)
        return FittedTogether(view.items, ids, table, Counted(pairs, len(batch)))

    def load(self, folder: Path, items: ItemSource) -> FittedFeatureModel:
        """Read what `save` wrote.

        Args:
            folder: The model's folder in a bundle.
            items: The catalogue to score.

        Returns:
            The model.
        """
        ids = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        with np.load(folder / "neighbours.npz", allow_pickle=False) as arrays:
            table = Neighbours(arrays["starts"], arrays["items"], arrays["similarities"])
        return FittedTogether(items, ids, table)


def _give_codes(ids: list[str], items: ItemSource, *rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give a code to every item that has none, appending to `ids`.

    Returns:
        int32 (n_items,): code of each item row; -1 where the item needs none.
    """
    given = {item_id: code for code, item_id in enumerate(ids)}
    names = items.ids
    codes = np.full(len(names), -1, dtype=np.int32)
    needed = np.unique(np.concatenate([some.ravel() for some in rows]))
    for row in needed[needed >= 0].tolist():
        code = given.setdefault(names[row], len(ids))
        if code == len(ids):
            ids.append(names[row])
        codes[row] = code
    return codes


class GoesTogether:
    """Candidate source: what people act on after what the user acted on last."""

    name = _NAME

    def __init__(self, model: TogetherModel) -> None:
        self._model = model

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read a user's last items."""
        return self._model.aggregates()

    def propose(self, view: SourceView, n: int) -> NDArray[np.int32]:
        """Propose the n items that go best with the user's last ones."""
        model = view.models.get(_NAME)
        if not isinstance(model, FittedTogether):
            return np.zeros(0, dtype=np.int32)
        return model.proposals(view.histories[_LAST].items, n)


@hookimpl
def recsys_feature_models(settings: dict[str, Any]) -> list[FeatureModel]:
    """Offer the model."""
    return [TogetherModel(parse_settings(Settings, settings))]


@hookimpl
def recsys_features() -> list[Feature]:
    """Offer its columns."""
    return [
        Feature(name=name, expr=pl.col(name), description=description)
        for name, description in _DESCRIPTIONS.items()
    ]


@hookimpl
def recsys_candidate_sources(settings: dict[str, Any]) -> list[CandidateSource]:
    """Offer the source."""
    return [GoesTogether(TogetherModel(parse_settings(Settings, settings)))]
