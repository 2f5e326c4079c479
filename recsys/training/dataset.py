"""What a training or evaluation run works on: the log as integers, labelled and described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.config import Config
from recsys.errors import TrainingError
from recsys.events.digest import LogDigest
from recsys.events.snapshot import LogSource
from recsys.features.actions import EncodedLog, Watcher, encode_log
from recsys.features.offline import OfflineReader
from recsys.features.profile import LogProfile, LogProfiler
from recsys.schema import MICROSECONDS
from recsys.training.labels import ImpressionLabels, LabelledSlates
from recsys.training.negatives import sampled_slates


@dataclass(frozen=True, slots=True)
class Dataset:
    """A log, ready to learn from.

    Args:
        log: The log as integers.
        reader: Reads features of any past request.
        labelled: Past requests, oldest first.
        profile: What kind of log it is.
        digest: How many events it has, and a name for them.
    """

    log: EncodedLog
    reader: OfflineReader
    labelled: LabelledSlates
    profile: LogProfile
    digest: LogDigest


def make_dataset(
    source: LogSource,
    config: Config,
    known_types: Sequence[str] = (),
    watch: Sequence[Watcher] = (),
) -> Dataset:
    """Encode and label a log, in one go; one without impressions gets sampled negatives.

    Args:
        source: The log.
        config: Labels, negatives and the seed that draws them.
        known_types: Event types in the order in which a bundle's models know them.
        watch: Called with every piece of the log and its rows.

    Returns:
        The data set; the same log and seed give the same one.

    Raises:
        TrainingError: The log has no interactions, or nothing says who did them.
    """
    digest, profiler = LogDigest(), LogProfiler()
    labels = ImpressionLabels(config.labels, source.scratch)
    own: list[Watcher] = [lambda piece, _: digest.add(piece), profiler, labels]
    log = encode_log(source, known_types, [*own, *watch])
    if not digest.n_events["interactions"]:
        found = f"{digest.n_events['impressions']} impressions and no interactions"
        raise TrainingError("log", found, "interactions")
    if digest.n_events["impressions"]:
        labelled = settled(labels.labelled(), digest.last_at, config.labels.wait_s)
    elif not len(log.visitors):
        found = f"{digest.n_events['interactions']:,} interactions, none with a user or a session"
        raise TrainingError("log", found, "who did what, or impressions")
    else:
        rng = np.random.default_rng(config.seed)
        labelled = sampled_slates(log, config.labels, config.split, rng, scratch=source.scratch)
    return Dataset(log, OfflineReader(log), labelled, profiler.profile(log), digest)


def settled(labelled: LabelledSlates, log_end: int, wait_s: float) -> LabelledSlates:
    """Leave out lists about which the log may end too early to know what was done with them.

    Args:
        labelled: Oldest first.
        log_end: When the last event became visible, in microseconds.
        wait_s: How long it takes to know, seconds.

    Returns:
        The others.

    Raises:
        TrainingError: There are none.
    """
    if not wait_s or not len(labelled.slates):
        return labelled
    latest = log_end - round(wait_s * MICROSECONDS)
    n = int(np.searchsorted(labelled.slates.as_of, latest, side="right"))
    if not n:
        found = f"no list that was shown {wait_s:,.0f} s before the log ends"
        raise TrainingError("labels.wait_s", found, "one")
    return labelled.part(0, n)
