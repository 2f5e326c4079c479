"""The protocol for cold items: a random tenth of the items is new to everything that is learned.

Their interactions and their places in lists are taken out of the log before training and before
features are computed, also in the test slice, so that neither a model nor a counter has ever met
them; what was shown and done with them is what the rankings are measured on. What is known of them
(their text) stays. Logs like RankLens, where every item is shown early, have no other new items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from recsys.bundle.contents import read_profile, read_scorer
from recsys.bundle.store import BundleStore
from recsys.evaluation.aside import aside
from recsys.evaluation.baselines import train_baselines
from recsys.evaluation.report import Evaluation, Subject, measure_all
from recsys.evaluation.requests import requests_after
from recsys.events.changed import ChangedLog
from recsys.events.progress import Progress, tell_nobody
from recsys.events.snapshot import LogSnapshot, LogSource
from recsys.training.dataset import make_dataset
from recsys.training.train import train
from recsys.workspace import Workspace

HELD_OUT: Final = 0.1


def evaluate_cold_items(
    workspace: Workspace,
    source: LogSource,
    baselines: Sequence[str] = (),
    *,
    progress: Progress = tell_nobody,
) -> Evaluation:
    """Train on a log without a tenth of its items, and measure on all of it.

    Args:
        workspace: Configuration and plugins; its bundles stay as they are.
        source: The log; gone through four times. What is imported into it meanwhile may be in one
            look and not in another.
        baselines: Names of baselines to train beside.
        progress: Called with (label, done, total) as work goes on.

    Returns:
        The evaluation of a bundle that is gone afterwards.
    """
    config = workspace.config
    rng = np.random.default_rng(config.seed)
    held = chosen_items(source, rng)
    seen = ChangedLog(source, lambda piece: without_events_of(piece, held))
    with aside(workspace, "cold-items") as elsewhere:
        bundle = BundleStore(elsewhere.bundles).open(train(elsewhere, seen, progress).version)
        types = tuple(read_profile(bundle).event_types)
        learned, whole = make_dataset(seen, config, types), make_dataset(source, config, types)
        scorer = read_scorer(bundle, elsewhere, learned.log.items)
        subject = Subject(
            protocol="cold-items",
            scorer=scorer,
            dataset=learned,
            requests=requests_after(scorer.contents.split, whole, config, known=learned.log),
            baselines=train_baselines(baselines, scorer, learned, config, progress=progress),
        )
        return measure_all(subject, rng, progress)


def chosen_items(source: LogSource, rng: np.random.Generator) -> pl.Series:
    """Choose the items that are held out, from those that were shown or acted on.

    Returns:
        Their ids.
    """
    items = pl.Series("item_id", [], dtype=pl.String)
    for piece in source.pieces():
        shown = piece.impressions["item_ids"].explode().drop_nulls()
        items = pl.concat([items, shown, piece.interactions["item_id"]]).unique()
    items = items.sort()
    n_chosen = min(len(items), max(1, round(HELD_OUT * len(items))))
    return items.gather(rng.permutation(len(items))[:n_chosen])


def without_events_of(snapshot: LogSnapshot, items: pl.Series) -> LogSnapshot:
    """Take the interactions of items, and their places in lists, out of a log.

    Returns:
        The log; lists that held nothing else are gone, versions of items are all there.
    """
    held = items.implode()
    shown = snapshot.impressions.with_columns(
        pl.col("item_ids").list.eval(pl.element().filter(~pl.element().is_in(held)))
    )
    return replace(
        snapshot,
        impressions=shown.filter(pl.col("item_ids").list.len() > 0),
        interactions=snapshot.interactions.filter(~pl.col("item_id").is_in(held)),
    )
