"""RankLens without its test slice: two development slices, and what a fit or a ranking sees."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config, InterestConfig, LogConfig
from recsys.events.formats import Formats
from recsys.events.importing import import_events
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.features.models import FitView, Histories, ItemSource, ScoringBatch
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count
from recsys.interest.model import TextInterestModel
from recsys.plugins.registry import load_importers
from recsys.schema import IMPRESSION, Attributes
from recsys.training.dataset import Dataset, make_dataset
from recsys.training.labels import LabelledSlates, grade_of
from recsys.training.split import split_by_time

DATA = Path(__file__).parents[2] / "data" / "ranklens" / "events.jsonl.gz"
#: Shares of the time line: learn from everything before the first, measure up to the second.
SLICES = {"early": (0.5, 0.65), "late": (0.65, 0.8)}
#: A fit learns from the newest lists before its slice; pasts reach back as far as ever.
MOST_LISTS = 2_500
_PRIOR_SHOWS = 20.0


@dataclass(frozen=True, slots=True)
class Change:
    """What a trial sees otherwise than the model does by default."""

    attributes: Callable[[Attributes], Attributes] | None = None
    histories: Callable[[str, Histories], Histories] | None = None


NO_CHANGE: Final = Change()


@dataclass(frozen=True, slots=True)
class Items:
    """A catalogue whose attributes are changed on the way to the model."""

    items: ItemSource
    change: Callable[[Attributes], Attributes]

    @property
    def ids(self) -> Sequence[str]:
        """Give ids by item row."""
        return self.items.ids

    def __len__(self) -> int:
        return len(self.items)

    def attributes(self, version_row: int) -> Attributes:
        """Give the changed attributes."""
        return self.change(self.items.attributes(version_row))

    def item_id(self, version_row: int) -> str:
        """Say which item a version row belongs to."""
        return self.items.item_id(version_row)


@dataclass(frozen=True, slots=True)
class World:
    """The log, its lists, and the log odds of the click rate of every candidate so far."""

    snapshot: LogSnapshot
    dataset: Dataset
    config: Config
    development: LabelledSlates
    click_rates: NDArray[np.float64]

    def ends(self, name: str) -> tuple[int, int]:
        """Give the first list of a slice, and the first one after it."""
        n_lists = len(self.dataset.labelled.slates)
        start, stop = (round(n_lists * share) for share in SLICES[name])
        return start, stop

    def batch(self, interest: InterestConfig, slates: Slates, change: Change) -> ScoringBatch:
        """Read what the model scores from."""
        reader = self.dataset.reader
        aggregates = TextInterestModel(interest).aggregates()
        histories = {a.name: reader.histories(a, slates) for a in aggregates}
        if change.histories is not None:
            histories = {name: change.histories(name, h) for name, h in histories.items()}
        versions = reader.item_versions(slates)
        return ScoringBatch(slates.items, versions, slates.offsets, histories)

    def view(
        self, interest: InterestConfig, end: int, change: Change, *, folder: Path, seed: int
    ) -> FitView:
        """Read what a fit on the newest lists before `end` sees."""
        labelled = self.development.part(0, end)
        chosen = labelled.informative()
        chosen &= np.cumsum(chosen[::-1])[::-1] <= MOST_LISTS
        labelled = labelled.where(chosen)
        types = self.dataset.reader.types.names
        grades = [0.0 if n == IMPRESSION else grade_of(self.config.labels, n) for n in types]
        return FitView(
            batch=self.batch(interest, labelled.slates, change),
            grades=labelled.grades,
            items=self.items(change),
            event_types=tuple(types),
            type_grades=np.array(grades, dtype=np.float32),
            folder=folder,
            seed=seed,
            progress=lambda _label, _done, _total: None,
        )

    def items(self, change: Change) -> ItemSource:
        """Give the catalogue as a trial sees it."""
        items = self.dataset.reader.items
        return items if change.attributes is None else Items(items, change.attributes)


def read_world() -> World:
    """Import RankLens and leave its test slice out of sight."""
    config = Config()
    with tempfile.TemporaryDirectory() as folder:
        log = LogConfig(path=f"{folder}/log.duckdb")
        formats = Formats(load_importers(Path(folder), config))
        import_events(log, [DATA], rejects=Path(folder) / "rejects.jsonl", formats=formats)
        snapshot = read_snapshot(log)
    dataset = make_dataset(snapshot, config)
    split = split_by_time(dataset.labelled, config.split)
    development = dataset.labelled.part(0, split.validation_end)
    rates = _click_rates(development.slates, dataset.reader)
    return World(snapshot, dataset, config, development, rates)


def _click_rates(slates: Slates, reader: OfflineReader) -> NDArray[np.float64]:
    actions = reader.read(count("actions", "*", by="item"), slates)
    shows = reader.read(count("shows", IMPRESSION, by="item"), slates)
    overall = np.nansum(actions) / np.nansum(shows)
    rate = (np.nan_to_num(actions) + _PRIOR_SHOWS * overall) / (np.nan_to_num(shows) + _PRIOR_SHOWS)
    rate = np.clip(rate, 1e-3, 1.0 - 1e-3)
    found: NDArray[np.float64] = np.log(rate / (1.0 - rate))
    return found


def changed_histories(
    *, without: str = "", ages: bool = True
) -> Callable[[str, Histories], Histories]:
    """Hide one kind of past, or how long ago anything was."""

    def change(name: str, found: Histories) -> Histories:
        if name == without:
            found = replace(found, versions=np.full_like(found.versions, -1))
        if not ages:
            found = replace(found, ages_s=np.where(np.isnan(found.ages_s), np.nan, 0.0))
        return found

    return change


def joined_texts(fields: tuple[str, ...]) -> Callable[[Attributes], Attributes]:
    """Put all fields into one text, which is encoded as a whole."""

    def change(attributes: Attributes) -> Attributes:
        values = [attributes[name] for name in fields if name in attributes]
        words = [", ".join(v) if isinstance(v, list) else str(v) for v in values]
        numbers = {k: v for k, v in attributes.items() if isinstance(v, int | float)}
        return {"text": ". ".join(words), **numbers}

    return change


def without_numbers(attributes: Attributes) -> Attributes:
    """Leave the texts of an item alone."""
    return {k: v for k, v in attributes.items() if not isinstance(v, int | float)}


def chosen(fields: tuple[str, ...]) -> Callable[[Attributes], Attributes]:
    """Keep some texts of an item, and its numbers."""

    def change(attributes: Attributes) -> Attributes:
        return {k: v for k, v in attributes.items() if k in fields or isinstance(v, int | float)}

    return change
