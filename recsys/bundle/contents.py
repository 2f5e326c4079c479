"""What lies in a bundle beside its manifest, and how it becomes a scorer again.

profile.json          the log that plugins were asked about
split.json            where training ended, in time
ranker.txt            LightGBM, all columns
fallback.txt          LightGBM, without the columns of the text model
importance.json       what each column is worth to the ranker
spreads.json          how each column was spread over the validation slice
models/NAME/...       whatever the feature model NAME saved
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from recsys.bundle.store import OpenBundle
from recsys.errors import BundleError
from recsys.features.models import FittedFeatureModel, ItemSource
from recsys.features.plan import FeaturePlan
from recsys.features.profile import LogProfile
from recsys.plugins.registry import Capabilities, load_capabilities
from recsys.ranking.distribution import Distribution
from recsys.ranking.ranker import Ranker
from recsys.workspace import Workspace

_T = TypeVar("_T")

PROFILE = "profile.json"
SPLIT = "split.json"
RANKER = "ranker.txt"
FALLBACK = "fallback.txt"
IMPORTANCE = "importance.json"
SPREADS = "spreads.json"
MODELS = "models"


@dataclass(frozen=True, slots=True)
class SplitTimes:
    """Where the slices of the training run ended, as instants in microseconds.

    Args:
        train_end_at: `as_of` of the first validation request.
        validation_end_at: `as_of` of the first test request.
        n_ties: Requests of that very instant that belong to the slices before.
    """

    train_end_at: int
    validation_end_at: int
    n_ties: int


@dataclass(frozen=True, slots=True)
class Contents:
    """All that training makes.

    Args:
        profile: The log.
        split: Where training ended.
        ranker: Over all features of the plan.
        fallback: Over those that need no text model.
        models: Fitted feature models by name.
    """

    profile: LogProfile
    split: SplitTimes
    ranker: Ranker
    fallback: Ranker
    models: Mapping[str, FittedFeatureModel]


#: How the columns of the ranker were spread over the validation slice, by name.
Spreads: TypeAlias = dict[str, Distribution]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A bundle that can score.

    Args:
        version: Of the bundle.
        capabilities: What the plugins offer on the bundle's log.
        plan: The features of the bundle, in the ranker's order.
        contents: Ranker and models.
    """

    version: str
    capabilities: Capabilities
    plan: FeaturePlan
    contents: Contents


def write_contents(folder: Path, contents: Contents, spreads: Spreads) -> None:
    """Write everything into the empty folder of a bundle."""
    _write_json(folder / SPREADS, spreads)
    _write_json(folder / PROFILE, contents.profile)
    _write_json(folder / SPLIT, contents.split)
    _write_json(folder / IMPORTANCE, contents.ranker.importance())
    contents.ranker.save(folder / RANKER)
    contents.fallback.save(folder / FALLBACK)
    for name, model in contents.models.items():
        (folder / MODELS / name).mkdir(parents=True)
        model.save(folder / MODELS / name)


def read_profile(bundle: OpenBundle) -> LogProfile:
    """Read the profile of the log that a bundle was made from.

    Returns:
        The profile.
    """
    return read_json(bundle.path / PROFILE, LogProfile)


def read_spreads(bundle: OpenBundle) -> Spreads:
    """Read how columns were spread when a bundle was made.

    Returns:
        By column of the ranker.

    Raises:
        BundleError: The bundle was made before that was kept.
    """
    if not (bundle.path / SPREADS).exists():
        raise BundleError(
            bundle.path, f"no {SPREADS}", "a bundle that was trained since it is kept"
        )
    return read_json(bundle.path / SPREADS, Spreads)


def read_scorer(
    bundle: OpenBundle,
    workspace: Workspace,
    items: ItemSource,
    capabilities: Capabilities | None = None,
) -> Scorer:
    """Make a scorer of a verified bundle.

    Args:
        bundle: From `BundleStore.open`, so that every file is what was published.
        workspace: Whose plugins offer the features.
        items: The catalogue; items that came after training are encoded.
        capabilities: What its plugins offer on the bundle's log; None: they are asked.

    Returns:
        The scorer.

    Raises:
        BundleError: The plugins of the workspace no longer offer what the bundle was trained on.
    """
    profile = read_profile(bundle)
    if capabilities is None:
        capabilities = load_capabilities(workspace.folder, workspace.config, profile)
    names = bundle.manifest.feature_names
    absent = [name for name in names if name not in capabilities.plan.names]
    if absent:
        trained_with = {plugin.name for plugin in bundle.manifest.plugins}
        gone = ", ".join(sorted(trained_with - set(capabilities.plugins))) or "none"
        found = f"no plugin offers {', '.join(absent)} (plugins missing: {gone})"
        raise BundleError(bundle.path, found, "the plugins it was trained with")
    plan = capabilities.plan.only(names)
    models = {
        name: model.load(bundle.path / MODELS / name, items) for name, model in plan.models.items()
    }
    fallback_names = plan.without_text().names
    contents = Contents(
        profile=profile,
        split=read_json(bundle.path / SPLIT, SplitTimes),
        ranker=Ranker.load(bundle.path / RANKER, names),
        fallback=Ranker.load(bundle.path / FALLBACK, fallback_names),
        models=models,
    )
    return Scorer(bundle.manifest.version, capabilities, plan, contents)


def _write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything that msgspec encodes
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))


def read_json(path: Path, kind: type[_T]) -> _T:
    """Read one of the JSON files of a verified bundle.

    Returns:
        Its contents.

    Raises:
        BundleError: It is not what it should be.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(path, str(error), f"a {kind.__name__}") from error
