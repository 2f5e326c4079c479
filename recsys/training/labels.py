"""Labelled slates: what was shown, and how relevant it turned out to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import LabelsConfig
from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import EncodedLog
from recsys.features.candidates import CandidateColumns, candidate_columns
from recsys.features.slates import Slates
from recsys.schema import Attributes

#: An interaction that names no impression belongs to the last list that showed the item to the
#: user, if that is no longer ago than this.
ATTRIBUTION_US = 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledSlates:
    """Past requests with graded candidates, oldest first.

    Args:
        slates: The requests; candidates in the order in which they were shown.
        grades: float32 (n_candidates,): 0 where nothing was done.
        sampled: The candidates were drawn, because the log has no impressions.
    """

    slates: Slates
    grades: NDArray[np.float32]
    sampled: bool

    def part(self, start: int, stop: int) -> LabelledSlates:
        """Cut out consecutive requests.

        Returns:
            Requests `start` to `stop` (exclusive).
        """
        low, high = self.slates.offsets[start], self.slates.offsets[stop]
        return LabelledSlates(self.slates.part(start, stop), self.grades[low:high], self.sampled)

    def informative(self) -> NDArray[np.bool_]:
        """Say which requests have both a positive and a zero grade; the others order nothing.

        Returns:
            bool (n_requests,).
        """
        groups = np.repeat(np.arange(len(self.slates)), self.slates.sizes)
        positive = np.bincount(groups, weights=self.grades > 0, minlength=len(self.slates))
        return (positive > 0) & (positive < self.slates.sizes)

    def where(self, mask: NDArray[np.bool_]) -> LabelledSlates:
        """Choose requests.

        Returns:
            The chosen requests in the same order.
        """
        chosen = np.flatnonzero(mask)
        grades = self.grades[self.slates.candidates_of(chosen)]
        return LabelledSlates(self.slates.take(chosen), grades, self.sampled)


def impression_slates(
    snapshot: LogSnapshot, log: EncodedLog, labels: LabelsConfig
) -> LabelledSlates:
    """Grade the impressions of a log.

    Args:
        snapshot: The log.
        log: The same log, encoded.
        labels: Grade of each interaction type.

    Returns:
        One request per impression, as of the instant at which it was shown.
    """
    impressions = snapshot.impressions.sort("occurred_at", "event_id")
    shown = (
        impressions
        .select(
            pl.int_range(pl.len()).alias("request"),
            "impression_id",
            "user_id",
            "occurred_at",
            "item_ids",
        )
        .explode("item_ids")
        .rename({"item_ids": "item_id"})
        .unique(["request", "item_id"], keep="first", maintain_order=True)
    )
    graded = shown.join(
        _grades(snapshot, shown, labels),
        on=["impression_id", "item_id"],
        how="left",
        maintain_order="left",
    )
    sizes = shown.group_by("request", maintain_order=True).len()["len"].to_numpy()
    slates = Slates(
        users=log.users.rows(impressions["user_id"].to_list()),
        as_of=impressions["occurred_at"].to_numpy(),
        items=log.items.rows(shown["item_id"].to_list()),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        context=_contexts(impressions),
        sessions=_sessions(impressions["session_id"]),
        candidates=_candidates(impressions["item_attributes"], shown),
    )
    grades = graded["grade"].fill_null(0.0).to_numpy().astype(np.float32)
    return LabelledSlates(slates, grades, sampled=False)


def grade_of(labels: LabelsConfig, event_type: str) -> float:
    """Look up the grade of an interaction type.

    Returns:
        Its grade, `labels.other` for a type that is not listed.
    """
    return labels.grades.get(event_type, labels.other)


def _grades(snapshot: LogSnapshot, shown: pl.DataFrame, labels: LabelsConfig) -> pl.DataFrame:
    """Find the largest grade of each shown item.

    Returns:
        impression_id, item_id, grade.
    """
    types = snapshot.interactions["type"].unique().to_list()
    grades = pl.DataFrame(
        {"type": types, "grade": [grade_of(labels, name) for name in types]},
        schema={"type": pl.String, "grade": pl.Float64},
    )
    done = snapshot.interactions.join(grades, on="type").select(
        "impression_id", "user_id", "item_id", "occurred_at", "grade"
    )
    named = done.filter(pl.col("impression_id") != "")
    loose = done.filter((pl.col("impression_id") == "") & (pl.col("user_id") != ""))
    found = (
        loose
        .drop("impression_id")
        .sort("occurred_at")
        .join_asof(
            shown.select("impression_id", "user_id", "item_id", "occurred_at").sort("occurred_at"),
            on="occurred_at",
            by=["user_id", "item_id"],
            strategy="backward",
            tolerance=ATTRIBUTION_US,
            check_sortedness=False,  # both sides are sorted just above
        )
        .filter(pl.col("impression_id").is_not_null())
    )
    columns = ["impression_id", "item_id", "grade"]
    together = pl.concat([named.select(columns), found.select(columns)])
    return together.group_by("impression_id", "item_id").agg(pl.col("grade").max())


def _contexts(impressions: pl.DataFrame) -> tuple[Attributes, ...]:
    texts = impressions["context"].to_list()
    if all(text in {"", "{}", None} for text in texts):
        return ()
    return tuple(decode_attributes(text) for text in texts)


def _candidates(texts: pl.Series, shown: pl.DataFrame) -> CandidateColumns:
    """Lay out what was known of items within their lists.

    Returns:
        (n_candidates,) by name and kind; empty where nothing was.
    """
    said = (
        texts.to_frame("said").with_row_index("request").filter(~pl.col("said").is_in(["", "{}"]))
    )
    if said.is_empty():
        return {}
    known = {int(number): decode_attributes(text) for number, text in said.iter_rows()}
    rows = enumerate(zip(shown["request"].to_list(), shown["item_id"].to_list(), strict=True))
    found = ((i, known[request].get(item)) for i, (request, item) in rows if request in known)
    return candidate_columns(((i, values) for i, values in found if values), shown.height)


def _sessions(ids: pl.Series) -> tuple[str, ...]:
    return tuple(ids.to_list()) if bool((ids != "").any()) else ()
