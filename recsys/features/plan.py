"""The plan: what plugins offer on a log, checked, and computed for any batch of requests.

Training and serving share this code; they differ only in the reader and in the size of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import PluginError, told
from recsys.features.frame import AS_OF, ITEM_ID, USER_ID, Frame
from recsys.features.keys import parse_key
from recsys.features.matrix import Layout, compute_matrix, make_layout
from recsys.features.models import FeatureModel, FittedFeatureModel, ScoringBatch, reads_text
from recsys.features.profile import LogProfile
from recsys.features.reading import StateReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import Aggregate, Feature, check_aggregate, parts_of

_SCOPES = ("item.", "user.", "context.", "candidate.")


@dataclass(frozen=True, slots=True)
class Offer:
    """What one plugin offers.

    Args:
        plugin: Its name.
        aggregates: What it needs.
        features: Its columns.
        models: Feature models that must be fitted.
    """

    plugin: str
    aggregates: tuple[Aggregate, ...] = ()
    features: tuple[Feature, ...] = ()
    models: tuple[FeatureModel, ...] = ()


@dataclass(frozen=True)
class FeaturePlan:
    """All features in order, with what they are computed from.

    Args:
        profile: The log that the plan was made for.
        features: In order of the ranker's columns.
        owners: Plugin of each feature.
        aggregates: By name, also those that only models and sources read.
        models: Feature models by name.
    """

    profile: LogProfile
    features: tuple[Feature, ...]
    owners: Mapping[str, str]
    aggregates: Mapping[str, Aggregate]
    models: Mapping[str, FeatureModel]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names of the matrix."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def layout(self) -> Layout:
        """How each column of the matrix is made."""
        columns = {column for model in self.models.values() for column in model.columns}
        return make_layout(
            self.features,
            self.owners,
            aggregates=self.aggregates,
            scores=columns,
            profile=self.profile,
        )

    def without_models(self) -> FeaturePlan:
        """Leave out feature models and every feature that reads a column of theirs.

        Returns:
            The smaller plan.
        """
        return self._without(self.models)

    def without_text(self) -> FeaturePlan:
        """Leave out the models that read items as text, and what is made of their columns.

        Returns:
            The smaller plan; other feature models stay.
        """
        return self._without({n: m for n, m in self.models.items() if reads_text(m)})

    def _without(self, models: Mapping[str, FeatureModel]) -> FeaturePlan:
        columns = {column for model in models.values() for column in model.columns}
        kept = [f for f in self.features if columns.isdisjoint(f.expr.meta.root_names())]
        others = {name: model for name, model in self.models.items() if name not in models}
        return FeaturePlan(self.profile, tuple(kept), self.owners, self.aggregates, others)

    def only(self, names: Sequence[str]) -> FeaturePlan:
        """Choose features, with the feature models that they need.

        Args:
            names: All of them are features of this plan.

        Returns:
            The plan with exactly these features, in this order.
        """
        by_name = {feature.name: feature for feature in self.features}
        features = tuple(by_name[name] for name in names)
        read = {name for feature in features for name in feature.expr.meta.root_names()}
        models = {n: m for n, m in self.models.items() if not read.isdisjoint(m.columns)}
        return FeaturePlan(self.profile, features, self.owners, self.aggregates, models)

    def scoring_batch(
        self, model: FeatureModel, slates: Slates, reader: StateReader
    ) -> ScoringBatch:
        """Read what a feature model scores from.

        Returns:
            Item rows, version rows and histories of all requests.
        """
        histories = {a.name: reader.histories(a, slates) for a in model.aggregates()}
        versions = reader.item_versions(slates)
        return ScoringBatch(slates.items, versions, slates.offsets, histories, slates.context)

    def scores(
        self, slates: Slates, reader: StateReader, fitted: Mapping[str, FittedFeatureModel]
    ) -> dict[str, NDArray[np.float32]]:
        """Score all candidates with all feature models.

        Returns:
            float32 (n_candidates,) by column name.

        Raises:
            PluginError: A model failed or returned another shape than it should have.
        """
        columns: dict[str, NDArray[np.float32]] = {}
        for name, model in fitted.items():
            batch = self.scoring_batch(self.models[name], slates, reader)
            try:
                found = model.score(batch)
            except Exception as error:
                # A model is code of a plugin: whatever it raises is that plugin's failure.
                raise PluginError(name, "FittedFeatureModel.score", told(error)) from error
            expected = (len(slates.items), len(model.columns))
            if found.shape != expected:
                cause = f"returned shape {found.shape}; expected {expected}"
                raise PluginError(name, "FittedFeatureModel.score", cause)
            columns.update(zip(model.columns, found.T, strict=True))
        return columns

    def matrix(
        self, slates: Slates, reader: StateReader, scores: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Compute all features.

        Args:
            slates: The requests.
            reader: The offline or the online state.
            scores: Columns of feature models; one that is absent reads missing.

        Returns:
            float32 (n_candidates, n_features): NaN is missing, never infinite.

        Raises:
            PluginError: An expression failed or gave another number of rows.
        """
        scores = self._complete(scores, len(slates.items))
        frame = Frame(slates, reader, self.aggregates, self.profile, scores)
        return compute_matrix(self.layout, frame)

    def matrix_without_failing(
        self, slates: Slates, reader: StateReader, scores: Mapping[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], list[PluginError]]:
        """Compute all features as `matrix` does; a plugin that fails loses its own columns only.

        A failing plugin costs one more pass over the others; without one nothing is added.

        Returns:
            The matrix, NaN in every column of a plugin that failed, and one error per such plugin.

        Raises:
            PluginError: Features fail together that do not fail alone, so nobody can be named.
        """
        try:
            return self.matrix(slates, reader, scores), []
        except PluginError as error:
            others = [f.name for f in self.features if self.owners[f.name] != error.plugin]
            if len(others) == len(self.features):
                raise
            smaller = self.only(others)
            matrix = np.full((len(slates.items), len(self.features)), np.nan, dtype=np.float32)
            kept, failures = smaller.matrix_without_failing(slates, reader, scores)
            matrix[:, [self.names.index(name) for name in others]] = kept
            return matrix, [error, *failures]

    def keep_mask(
        self, exprs: Sequence[pl.Expr], slates: Slates, reader: StateReader
    ) -> NDArray[np.bool_]:
        """Evaluate filters; a candidate stays when no filter says otherwise.

        Returns:
            bool (n_candidates,).
        """
        return keep_mask(exprs, self.data_of(exprs, slates, reader))

    def data_of(
        self, exprs: Sequence[pl.Expr], slates: Slates, reader: StateReader
    ) -> pl.DataFrame:
        """Read what expressions read.

        Returns:
            A row per candidate.
        """
        names = sorted({name for expr in exprs for name in expr.meta.root_names()})
        return Frame(slates, reader, self.aggregates, self.profile, {}).data(names)

    def _complete(
        self, scores: Mapping[str, NDArray[np.float32]], n_rows: int
    ) -> dict[str, NDArray[np.float32]]:
        missing = np.full(n_rows, np.nan, dtype=np.float32)
        columns = {c: missing for model in self.models.values() for c in model.columns}
        return {**columns, **scores}


def keep_mask(exprs: Sequence[pl.Expr], data: pl.DataFrame) -> NDArray[np.bool_]:
    """Evaluate filters; a candidate stays when no filter says otherwise.

    Args:
        exprs: Their expressions.
        data: What those read, a row per candidate.

    Returns:
        bool (n_candidates,).
    """
    kept = data.select(pl.all_horizontal(*exprs).fill_null(value=True).alias("keep"))["keep"]
    mask: NDArray[np.bool_] = kept.to_numpy().astype(bool)
    return mask


def make_plan(
    profile: LogProfile, offers: Sequence[Offer], extra: Sequence[tuple[str, Aggregate]] = ()
) -> FeaturePlan:
    """Put the offers of all plugins together.

    Args:
        profile: The log.
        offers: In the order in which plugins are loaded.
        extra: (plugin, aggregate) pairs that candidate sources and filters read.

    Returns:
        The plan.

    Raises:
        PluginError: Two plugins clash over a name, a key is malformed, or an expression reads a
            column that nobody offers.
    """
    aggregates = _merge_aggregates(offers, extra)
    owners: dict[str, str] = {}
    features: list[Feature] = []
    models = {model.name: model for offer in offers for model in offer.models}
    known = {AS_OF, ITEM_ID, USER_ID, *(c for model in models.values() for c in model.columns)}
    known |= aggregates.keys()
    for offer in offers:
        for feature in offer.features:
            if feature.name in owners:
                cause = f"feature {feature.name} is offered by plugin {owners[feature.name]} too"
                raise PluginError(offer.plugin, "recsys_features", cause)
            _check_columns(offer.plugin, feature, known)
            _check_scope(offer.plugin, feature, aggregates)
            owners[feature.name] = offer.plugin
            features.append(feature)
    return FeaturePlan(profile, tuple(features), owners, aggregates, models)


def _merge_aggregates(
    offers: Sequence[Offer], extra: Sequence[tuple[str, Aggregate]]
) -> dict[str, Aggregate]:
    merged: dict[str, tuple[str, Aggregate]] = {}
    wanted = [(offer.plugin, aggregate) for offer in offers for aggregate in offer.aggregates]
    for offer in offers:
        wanted += [(offer.plugin, a) for model in offer.models for a in model.aggregates()]
    for plugin, aggregate in [*wanted, *extra]:
        owner, known = merged.setdefault(aggregate.name, (plugin, aggregate))
        if known != aggregate:
            cause = f"aggregate {aggregate.name} differs from the one of plugin {owner}"
            raise PluginError(plugin, "recsys_aggregates", cause)
        try:
            check_aggregate(aggregate)
            for part in parts_of(aggregate):
                parse_key(part.by)
        except ValueError as error:
            raise PluginError(plugin, "recsys_aggregates", str(error)) from error
    return {name: aggregate for name, (_, aggregate) in merged.items()}


def _check_columns(plugin: str, feature: Feature, known: set[str]) -> None:
    for name in feature.expr.meta.root_names():
        if name not in known and not name.startswith(_SCOPES):
            expected = (
                f"an aggregate of a plugin, {', '.join(f'{s}NAME' for s in _SCOPES)} or as_of"
            )
            cause = f"feature {feature.name} reads column {name!r}; expected {expected}"
            raise PluginError(plugin, "recsys_features", cause)


def _check_scope(plugin: str, feature: Feature, aggregates: Mapping[str, Aggregate]) -> None:
    if not feature.per_request:
        return
    if feature.listwise:
        cause = f"feature {feature.name} is per_request and listwise; expected one at most"
        raise PluginError(plugin, "recsys_features", cause)
    for name in feature.expr.meta.root_names():
        of_request = name in {AS_OF, USER_ID} or name.startswith(("user.", "context."))
        if name in aggregates:
            part = aggregates[name].by.rpartition("*")[2]
            of_request = part != "item" and not part.startswith("item.")
        if not of_request:
            cause = f"feature {feature.name} is per_request and reads {name!r} of the candidate"
            raise PluginError(plugin, "recsys_features", cause)
