"""Feature models are scored on what they have not seen: expanding windows, forward in time.

The train slice is cut into windows. A model fitted on the windows before scores the next one and
then goes on from where it was, so every row that the ranker learns from has an out-of-time score,
nothing is wasted, and all fits together cost about as much as one. The oldest window is scored by
what needs no fitting. The fit on the whole train slice scores the validation slice; a last one on
both goes into the bundle, and would score whatever comes after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.config import LabelsConfig
from recsys.events.progress import Progress
from recsys.features.models import FeatureModel, FittedFeatureModel, FitView
from recsys.features.offline import OfflineReader
from recsys.features.plan import FeaturePlan
from recsys.schema import IMPRESSION
from recsys.training.labels import LabelledSlates, grade_of
from recsys.training.split import TimeSplit


@dataclass(frozen=True, slots=True)
class Stack:
    """Fitted feature models and their scores.

    Args:
        models: By name, fitted on the train and the validation slice.
        scores: float32 (n_candidates,) by column, out of time for every request.
    """

    models: dict[str, FittedFeatureModel]
    scores: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Stacking:
    """What all fits of a stack share.

    Args:
        plan: Which models there are.
        reader: The log.
        labelled: Requests of the train and validation slices, oldest first.
        split: Where they end.
        labels: Grade of each interaction type.
        folder: For training logs.
        seed: Of every random choice.
        progress: Called as work goes on.
    """

    plan: FeaturePlan
    reader: OfflineReader
    labelled: LabelledSlates
    split: TimeSplit
    labels: LabelsConfig
    folder: Path
    seed: int
    progress: Progress

    def build(self, n_windows: int) -> Stack:
        """Fit and score every feature model of the plan.

        Returns:
            The stack.
        """
        models: dict[str, FittedFeatureModel] = {}
        scores: dict[str, NDArray[np.float32]] = {}
        for name, model in self.plan.models.items():
            ends = [*self.split.windows(n_windows), self.split.validation_end]
            models[name], columns = self._stack_one(model, ends)
            scores.update(zip(model.columns, columns.T, strict=True))
        return Stack(models, scores)

    def _stack_one(
        self, model: FeatureModel, ends: list[int]
    ) -> tuple[FittedFeatureModel, NDArray[np.float32]]:
        shape = (len(self.labelled.slates.items), len(model.columns))
        scores = np.full(shape, np.nan, dtype=np.float32)
        unfitted = model.unfitted(self.reader.items)
        if unfitted is not None:
            scores[self._rows(0, ends[0])] = self._score(model, unfitted, (0, ends[0]))
        fitted = model.fit(self._view(model, ends[0]), unfitted)
        for end, next_end in pairwise(ends):
            scores[self._rows(end, next_end)] = self._score(model, fitted, (end, next_end))
            fitted = model.fit(self._view(model, next_end), fitted)
        _conclude(fitted)
        return fitted, scores

    def windows(
        self, model: FeatureModel, unfitted: FittedFeatureModel | None, ends: list[int]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Fit a model window by window and score what comes after each, to compare models.

        Args:
            model: Of the plan.
            unfitted: What its first fit goes on from.
            ends: Requests at which windows end, ascending.

        Yields:
            Rows of the candidates, and their scores (n, n_columns), out of time.
        """
        fitted = unfitted
        for end, next_end in pairwise(ends):
            fitted = model.fit(self._view(model, end), fitted)
            yield self._rows(end, next_end), self._score(model, fitted, (end, next_end))
        _conclude(fitted)

    def _rows(self, start: int, stop: int) -> slice:
        offsets = self.labelled.slates.offsets
        return slice(int(offsets[start]), int(offsets[stop]))

    def _score(
        self, model: FeatureModel, fitted: FittedFeatureModel, span: tuple[int, int]
    ) -> NDArray[np.float32]:
        start, stop = span
        slates = self.labelled.slates
        found = self.plan.scores(slates.part(start, stop), self.reader, {model.name: fitted})
        return np.column_stack([found[column] for column in model.columns])

    def _view(self, model: FeatureModel, end: int) -> FitView:
        labelled = self.labelled.part(0, end)
        labelled = labelled.where(labelled.informative())
        types = self.reader.types.names
        grades = [0.0 if n == IMPRESSION else grade_of(self.labels, n) for n in types]
        return FitView(
            batch=self.plan.scoring_batch(model, labelled.slates, self.reader),
            grades=labelled.grades,
            items=self.reader.items,
            event_types=tuple(types),
            type_grades=np.array(grades, dtype=np.float32),
            folder=self.folder,
            seed=self.seed,
            progress=self.progress,
        )


def _conclude(fitted: FittedFeatureModel | None) -> None:
    """Let a model say once what it would otherwise say of each of its fits."""
    conclude = getattr(fitted, "conclude", None)
    if conclude is not None:
        conclude()
