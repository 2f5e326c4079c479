"""What a training or evaluation run works on: the log in memory, labelled and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config import Config
from recsys.errors import TrainingError
from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import EncodedLog, encode_log
from recsys.features.offline import OfflineReader
from recsys.training.labels import LabelledSlates, impression_slates
from recsys.training.negatives import sampled_slates


@dataclass(frozen=True, slots=True)
class Dataset:
    """A log, ready to learn from.

    Args:
        snapshot: The log as tables.
        log: The log as integers.
        reader: Reads features of any past request.
        labelled: Past requests, oldest first.
    """

    snapshot: LogSnapshot
    log: EncodedLog
    reader: OfflineReader
    labelled: LabelledSlates


def make_dataset(snapshot: LogSnapshot, config: Config, known_types: Sequence[str] = ()) -> Dataset:
    """Encode and label a log; one without impressions gets sampled negatives.

    Args:
        snapshot: The log.
        config: Labels, negatives and the seed that draws them.
        known_types: Event types in the order in which a bundle's models know them.

    Returns:
        The data set; the same log and seed give the same one.

    Raises:
        TrainingError: The log has no interactions.
    """
    if snapshot.interactions.is_empty():
        found = f"{snapshot.impressions.height} impressions and no interactions"
        raise TrainingError("log", found, "interactions")
    log = encode_log(snapshot, known_types)
    if snapshot.impressions.is_empty():
        rng = np.random.default_rng(config.seed)
        labelled = sampled_slates(log, config.labels, config.split, rng)
    else:
        labelled = impression_slates(snapshot, log, config.labels)
    return Dataset(snapshot, log, OfflineReader(log), labelled)
