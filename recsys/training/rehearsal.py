"""Rehearsing what is new: some of the ranker's rows as they would be had nobody met the item.

Where every item is old, a ranker never learns what to make of one that is not: counters of zero
were as rare in training as they mean little, and it goes by them although nothing is known. So in
the train slice the past of some candidates is hidden, from everything that is counted for an item;
what an item says of itself (attributes, text) stays. Other candidates of a list see them as they
then are, which matters to columns that compare. The columns concerned are computed a second time.

Only what is lacking is rehearsed: a log where new items come every day has its own. A log without
impressions is left alone: there an item that nobody acted on is one that nobody wanted, and hiding
the past of wanted ones would teach the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.features.entities import UNKNOWN
from recsys.features.keys import parse_key
from recsys.features.models import Histories, reads_text
from recsys.features.plan import FeaturePlan
from recsys.features.reading import StateReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import Aggregate, count, parts_of
from recsys.schema import IMPRESSION
from recsys.training.dataset import Dataset

#: Candidates that are computed at a time.
_CHUNK_CANDIDATES: Final = 500_000
#: Tells these random choices from others that follow from the same seed.
_STREAM: Final = 11


def rehearse(
    matrix: NDArray[np.float32],
    plan: FeaturePlan,
    dataset: Dataset,
    *,
    n_lists: int,
    scores: Mapping[str, NDArray[np.float32]],
    config: Config,
) -> int:
    """Hide the past of some candidates, in place.

    Args:
        matrix: (n_rows, n_features): rows of the oldest lists.
        plan: What its columns are.
        dataset: The log.
        n_lists: Lists of the train slice; others are not touched.
        scores: Columns of feature models, of these rows at least.
        config: `[ranker] as_if_new`, the share of rows that are to be new, and the seed.

    Returns:
        How many rows were changed.
    """
    forgetful = {
        column
        for model in plan.models.values()
        if not reads_text(model)
        for column in model.columns
    }
    names = _changing(plan, forgetful)
    if dataset.labelled.sampled or not names or not config.ranker.as_if_new:
        return 0
    reader, train = dataset.reader, dataset.labelled.slates.part(0, n_lists)
    lacking = config.ranker.as_if_new - float(_is_new(train, reader).mean())
    if lacking <= 0:
        return 0
    rng = np.random.default_rng((config.seed, _STREAM))
    places = np.array([plan.names.index(name) for name in names])
    smaller = plan.only(names)
    columns = {column for model in smaller.models.values() for column in model.columns}
    n_hidden = 0
    for lists in _pieces(train.sizes):
        slates, rows = train.take(lists), train.candidates_of(lists)
        hidden = rng.random(len(rows)) < lacking
        known = {name: scores[name][rows] for name in columns if name in scores}
        for name in forgetful & known.keys():
            known[name] = np.where(hidden, np.float32(np.nan), known[name])
        changed = smaller.matrix(slates, AsIfNew(reader, slates, hidden), known)
        matrix[np.ix_(rows, places)] = changed
        n_hidden += int(np.count_nonzero(hidden))
    return n_hidden


class AsIfNew(StateReader):
    """Reads the log as if some candidates had never been shown or acted on.

    Args:
        reader: The log.
        slates: The only requests that it is asked for.
        hidden: bool (n_candidates,): whose past is hidden.
    """

    def __init__(self, reader: StateReader, slates: Slates, hidden: NDArray[np.bool_]) -> None:
        self.items, self.users, self.types = reader.items, reader.users, reader.types
        self._reader = reader
        rows = np.where(hidden, np.int32(UNKNOWN), slates.items).astype(np.int32)
        self._without_past = replace(slates, items=rows)
        self._found: dict[Aggregate, NDArray[np.float64]] = {}

    def item_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all candidates: what an item says of itself is not hidden.

        Returns:
            int32 (n_candidates,), -1 where nothing was known.
        """
        return self._reader.item_versions(slates)

    def user_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all users.

        Returns:
            int32 (n_requests,), -1 where nothing was known.
        """
        return self._reader.user_versions(slates)

    def named_items(self, slates: Slates) -> NDArray[np.int32]:
        """Find the candidates that an event had named, be it of what it is.

        Returns:
            int32 (n_candidates,): their rows; negative: none.
        """
        return self._reader.named_items(slates)

    def named_users(self, slates: Slates) -> NDArray[np.int32]:
        """Find the users that an event had named.

        Returns:
            int32 (n_requests,): their rows; negative: none.
        """
        return self._reader.named_users(slates)

    def read_many(
        self, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        """Read scalar aggregates; those that are kept for an item, of what is left of its past.

        Returns:
            float64 (n_candidates,) for each: NaN where it is missing.
        """
        # Kept here: a reader keeps what it found for one batch, and these are two.
        for requests, hides in ((slates, False), (self._without_past, True)):
            wanted = [a for a in aggregates if a not in self._found and _of_item(a) == hides]
            self._found.update(zip(wanted, self._reader.read_many(wanted, requests), strict=True))
        return [self._found[aggregate] for aggregate in aggregates]

    def histories_of(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read what users did last, which is not hidden.

        Returns:
            The histories, newest first.
        """
        return self._reader.histories_of(aggregate, slates)


def _of_item(aggregate: Aggregate) -> bool:
    return any(parse_key(part.by).item == "item" for part in parts_of(aggregate))


def _changing(plan: FeaturePlan, forgetful: set[str]) -> tuple[str, ...]:
    """Find the features that depend on what was done with the item itself.

    Returns:
        Their names, in the order of the plan.
    """
    changing = forgetful | {name for name, a in plan.aggregates.items() if _of_item(a)}
    return tuple(
        feature.name
        for feature in plan.features
        if not changing.isdisjoint(feature.expr.meta.root_names())
    )


def _is_new(slates: Slates, reader: StateReader) -> NDArray[np.bool_]:
    events = reader.read(count("events_of_item", (IMPRESSION, "*"), by="item"), slates)
    new: NDArray[np.bool_] = ~(events > 0)
    return new


def _pieces(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    cuts = np.searchsorted(
        np.cumsum(sizes), np.arange(_CHUNK_CANDIDATES, int(sizes.sum()), _CHUNK_CANDIDATES)
    )
    return [piece for piece in np.split(np.arange(len(sizes)), np.unique(cuts)) if len(piece)]
