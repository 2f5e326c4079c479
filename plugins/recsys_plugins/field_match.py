"""How well an item's texts match what a request asks: shared words, and BM25.

Offered where requests carry a text such as a query. The words of items are cut once per version and
kept as codes; how rare a word is comes from the items that were shown before, so it is fitted
forward in time like every feature model.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Section, parse_settings
from recsys.features.models import (
    FeatureModel,
    FittedFeatureModel,
    FitView,
    ItemSource,
    ScoringBatch,
)
from recsys.features.profile import AttributeProfile, LogProfile
from recsys.features.vocabulary import Aggregate, Feature
from recsys.hookspecs import hookimpl
from recsys.retrieval.bm25 import Corpus, TermTable, describe
from recsys.schema import AttributeValue
from recsys.terms import check_language, terms_of

_NAMES = ("query", "search", "search_query", "keywords", "q")
_FIRST_FIELDS = ("title", "name", "headline")
_MOST_FIELDS = 3
_CORPORA = "corpora.json"


class Settings(Section):
    """The table `[settings.field_match]`.

    `query` names what the request asks (`context.query`), `fields` the texts of items; left out:
    found by their usual names. `language` is one of Snowball's, such as `english`; empty: words
    must be the same, not just their stems.
    """

    query: str = ""
    fields: tuple[str, ...] = ()
    language: str = ""


class FittedMatch:
    """Terms of all items, and how rare terms were at the time of the fit.

    Args:
        model: What is matched with what.
        items: The catalogue.
        corpora: One per field.
        tables: Terms of version rows, one table per field; empty: they are made.
    """

    def __init__(
        self,
        model: FieldMatchModel,
        items: ItemSource,
        corpora: list[Corpus],
        tables: list[TermTable] | None = None,
    ) -> None:
        self.columns = model.columns
        self.tables = tables or [TermTable() for _ in model.fields]
        self._model, self._items, self._corpora = model, items, corpora
        self._growing = threading.Lock()
        self.refresh()

    def score(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Score every candidate.

        Returns:
            float32 (n_candidates, n_columns), columns as in `columns`; NaN where the request asks
            nothing or the item has no such text.
        """
        scores = np.full((len(batch.versions), len(self.columns)), np.nan, dtype=np.float32)
        for request, context in enumerate(batch.context):
            query = self._model.terms(context.get(self._model.query))
            rows = slice(int(batch.offsets[request]), int(batch.offsets[request + 1]))
            for place, (table, corpus) in enumerate(zip(self.tables, self._corpora, strict=True)):
                columns = slice(2 * place, 2 * place + 2)
                scores[rows, columns] = table.match(query, batch.versions[rows], corpus)
        return scores

    def refresh(self) -> None:
        """Cut the texts of version rows that the catalogue has gained."""
        with self._growing:
            for version in range(len(self.tables[0]), len(self._items)):
                attributes = self._items.attributes(version)
                # The first table last: its length says how far all of them are.
                for field, table in reversed(
                    list(zip(self._model.fields, self.tables, strict=True))
                ):
                    table.append(self._model.terms(attributes.get(field)))

    def save(self, folder: Path) -> None:
        """Write what is known of the fields' words; those of items are cut again on loading."""
        named = dict(zip(self._model.fields, self._corpora, strict=True))
        (folder / _CORPORA).write_bytes(msgspec.json.encode(named))


class FieldMatchModel:
    """Which text of a request is matched with which texts of items.

    Args:
        query: Name of the request's attribute.
        fields: Names of items' attributes; at least one.
        language: Of stems; empty: none.
    """

    name = "field_match"

    def __init__(self, query: str, fields: tuple[str, ...], language: str) -> None:
        self.query, self.fields, self._language = query, fields, language
        self.columns = tuple(f"match_{f}_{kind}" for f in fields for kind in ("share", "bm25"))

    def terms(self, value: AttributeValue | None) -> tuple[str, ...]:
        """Cut a text, or a list of texts, into terms; anything else has none."""
        texts = value if isinstance(value, list) else [value]
        return tuple(t for v in texts if isinstance(v, str) for t in terms_of(v, self._language))

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Read no state."""
        return ()

    def unfitted(self, items: ItemSource) -> FittedFeatureModel:
        """Offer matches in which all words are equally rare."""
        return FittedMatch(self, items, [Corpus(0, 0.0, {})] * len(self.fields))

    def fit(self, view: FitView, previous: FittedFeatureModel | None = None) -> FittedFeatureModel:
        """Count the words of all items that were candidates.

        Args:
            view: The span.
            previous: Its tables are taken over: words of items do not change.

        Returns:
            The fitted model.
        """
        known = previous if isinstance(previous, FittedMatch) else None
        versions = np.unique(view.batch.versions)
        attributes = [view.items.attributes(v) for v in versions[versions >= 0].tolist()]
        corpora = []
        for field in self.fields:
            texts = [self.terms(found.get(field)) for found in attributes]
            corpora.append(describe([terms for terms in texts if terms]))
        return FittedMatch(self, view.items, corpora, known.tables if known else None)

    def load(self, folder: Path, items: ItemSource) -> FittedFeatureModel:
        """Read what `save` wrote.

        Args:
            folder: The model's folder in a bundle.
            items: The catalogue to score.

        Returns:
            The model.
        """
        text = (folder / _CORPORA).read_bytes()
        named = msgspec.json.decode(text, type=dict[str, Corpus])
        return FittedMatch(self, items, [named[field] for field in self.fields])


@hookimpl
def recsys_feature_models(profile: LogProfile, settings: dict[str, Any]) -> list[FeatureModel]:
    """Offer the model, where there is something to match."""
    found = _model(profile, settings)
    return [found] if found else []


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer its columns."""
    found = _model(profile, settings)
    return [Feature(name=name, expr=pl.col(name)) for name in (found.columns if found else ())]


def _model(profile: LogProfile, settings: dict[str, Any]) -> FieldMatchModel | None:
    chosen = parse_settings(Settings, settings)
    check_language(chosen.language)
    query = chosen.query.removeprefix("context.")
    query = query or next((name for name in _NAMES if _is_text(profile.context.get(name))), "")
    fields = chosen.fields or _text_fields(profile.items)
    return FieldMatchModel(query, fields, chosen.language) if query and fields else None


def _is_text(attribute: AttributeProfile | None) -> bool:
    return attribute is not None and attribute.kind == "string"


def _text_fields(items: Mapping[str, AttributeProfile]) -> tuple[str, ...]:
    texts = [name for name, a in items.items() if a.kind in {"string", "strings"}]
    first = [name for name in _FIRST_FIELDS if name in texts]
    # Prose before labels: what is wordier can match more.
    others = sorted(set(texts) - set(first), key=lambda name: (-items[name].mean_words, name))
    return tuple([*first, *others][:_MOST_FIELDS])
