"""Out-of-time scores of feature models, kept beside bundles, so that rankers can be trained alone.

Fitting and stacking the feature models is most of a training run, and a new feature changes nothing
about them. Their scores of every labelled request are kept by a fingerprint of the request. A run
that reuses a bundle looks them up; requests that came after the bundle's models were fitted are
scored by those models, which is out of time as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from recsys.bundle.contents import MODELS, SPLIT, SplitTimes, read_json, read_profile
from recsys.bundle.store import OpenBundle
from recsys.errors import TrainingError
from recsys.features.actions import EncodedLog
from recsys.features.models import FittedFeatureModel
from recsys.features.offline import OfflineReader
from recsys.features.plan import FeaturePlan
from recsys.features.profile import LogProfile
from recsys.features.slates import Slates
from recsys.training.stacking import Stack
from recsys.workspace import Workspace

#: Requests from before the models were fitted that may lack scores, as a share: late arrivals.
_MOST_UNKNOWN: Final = 0.02
_REQUEST: Final = "request"
#: What feature models and the labels that they learn from depend on.
_SETTINGS: Final = ("interest", "labels", "split", "seed")
_EXPECTED: Final = "the bundle's own; train without --ranker-only"


@dataclass(frozen=True, slots=True)
class Reused:
    """A bundle whose feature models are taken over as they are.

    Args:
        bundle: The bundle.
        kept: Its scores: `request` (UInt64 fingerprint) and a Float32 list per column.
        fitted_until: Its models saw requests before this instant, in microseconds.
    """

    bundle: OpenBundle
    kept: pl.DataFrame
    fitted_until: int

    @property
    def event_types(self) -> tuple[str, ...]:
        """Event types in the order in which its models know them."""
        return tuple(read_profile(self.bundle).event_types)

    def in_its_order(self, profile: LogProfile) -> LogProfile:
        """Keep the models' order of event types in the profile of a newer log.

        Returns:
            The profile.
        """
        known = {name: profile.event_types.get(name, 0) for name in self.event_types}
        return replace(profile, event_types={**known, **profile.event_types})


@dataclass(frozen=True, slots=True)
class Requests:
    """Labelled requests before the test slice, oldest first.

    Args:
        slates: The requests.
        log: What their rows mean.
    """

    slates: Slates
    log: EncodedLog

    def fingerprints(self) -> NDArray[np.uint64]:
        """Recognise requests in another encoding of the log: instant, user, candidates in order.

        Returns:
            uint64 (n_requests,).
        """
        slates = self.slates
        users, items = [*self.log.users.ids, ""], [*self.log.items.ids, ""]
        found = np.empty(len(slates), dtype=np.uint64)
        for number in range(len(slates)):
            rows = slates.items[slates.offsets[number] : slates.offsets[number + 1]].tolist()
            user = users[max(int(slates.users[number]), -1)]
            names = [str(slates.as_of[number]), user, *(items[max(row, -1)] for row in rows)]
            found[number] = xxhash.xxh3_64_intdigest("\0".join(names).encode())
        return found


def write_scores(workspace: Workspace, version: str, requests: Requests, stack: Stack) -> None:
    """Keep the scores that a bundle's ranker was trained on.

    Args:
        workspace: Where to.
        version: The bundle.
        requests: The requests.
        stack: Scores of all their candidates.
    """
    ends = requests.slates.offsets[1:-1]
    lists = {
        column: pl.Series(np.split(values, ends), dtype=pl.List(pl.Float32))
        for column, values in stack.scores.items()
    }
    frame = pl.DataFrame({_REQUEST: pl.Series(requests.fingerprints()), **lists})
    path = _path(workspace, version)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    frame.write_parquet(partial)
    partial.rename(path)


def read_reused(workspace: Workspace, bundle: OpenBundle) -> Reused:
    """Find out whether a bundle's feature models can be taken over.

    Args:
        workspace: With the configuration of the run to come.
        bundle: A verified bundle.

    Returns:
        What is needed.

    Raises:
        TrainingError: Its scores are gone, or its models were fitted with other settings.
    """
    version = bundle.manifest.version
    path = _path(workspace, version)
    if not path.exists():
        what = f"scores of bundle {version}"
        raise TrainingError(what, f"no {path}", _EXPECTED)
    theirs, ours = bundle.manifest.config, workspace.config.model_dump(mode="json")
    changed = [name for name in _SETTINGS if theirs.get(name) != ours[name]]
    if changed:
        found = f"other settings than in bundle {version}"
        raise TrainingError(", ".join(changed), found, _EXPECTED)
    split = read_json(bundle.path / SPLIT, SplitTimes)
    return Reused(bundle, pl.read_parquet(path), split.validation_end_at)


def reuse_models(
    reused: Reused, plan: FeaturePlan, reader: OfflineReader, requests: Requests
) -> Stack:
    """Take over fitted models and their scores.

    Args:
        reused: The bundle.
        plan: Which models there are now.
        reader: The log.
        requests: The requests.

    Returns:
        Models as they are in the bundle, and out-of-time scores of all requests.

    Raises:
        TrainingError: A model is not in the bundle, or requests lack scores.
    """
    folder, slates = reused.bundle.path / MODELS, requests.slates
    models: dict[str, FittedFeatureModel] = {}
    for name, model in plan.models.items():
        if not (folder / name).is_dir() or not set(model.columns) <= set(reused.kept.columns):
            what, found = f"feature model {name}", f"not in bundle {reused.bundle.manifest.version}"
            raise TrainingError(what, found, _EXPECTED)
        models[name] = model.load(folder / name, reader.items)
    columns = [column for model in plan.models.values() for column in model.columns]
    scores, known = _looked_up(reused.kept, columns, requests)
    newer = slates.as_of >= reused.fitted_until
    for number in np.flatnonzero(newer & ~known).tolist():
        low, high = int(slates.offsets[number]), int(slates.offsets[number + 1])
        found_scores = plan.scores(slates.part(number, number + 1), reader, models)
        for column, values in found_scores.items():
            scores[column][low:high] = values
    n_unknown = int(np.count_nonzero(~known & ~newer)) if columns else 0
    if n_unknown > _MOST_UNKNOWN * len(slates):
        found = f"{n_unknown} of {len(slates)} requests without scores"
        raise TrainingError("log", found, "the one that the bundle was trained on, grown since")
    return Stack(models, scores)


def _looked_up(
    kept: pl.DataFrame, columns: Sequence[str], requests: Requests
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Find kept scores.

    Returns:
        float32 (n_candidates,) by column, NaN where there are none, and which requests have them:
        bool (n_requests,).
    """
    slates = requests.slates
    wanted = pl.DataFrame({_REQUEST: pl.Series(requests.fingerprints())})
    found = wanted.join(kept.unique(_REQUEST), on=_REQUEST, how="left", maintain_order="left")
    scores: dict[str, NDArray[np.float32]] = {}
    known = np.zeros(len(slates), dtype=np.bool_)
    for column in columns:
        there = found[column].is_not_null().to_numpy()
        scores[column] = np.full(len(slates.items), np.nan, dtype=np.float32)
        filled = found[column].filter(there).explode(empty_as_null=False)
        scores[column][np.repeat(there, slates.sizes)] = filled.to_numpy()
        known |= there
    return scores, known


def _path(workspace: Workspace, version: str) -> Path:
    return workspace.folder / "stacked" / f"{version}.parquet"
