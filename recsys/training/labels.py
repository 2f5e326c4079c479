"""Labelled slates: what was shown, and how relevant it turned out to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import LabelsConfig
from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot
from recsys.features.actions import Actions, EncodedLog
from recsys.features.candidates import candidate_columns
from recsys.features.codes import number_texts
from recsys.features.entities import Entities
from recsys.features.slates import Slates
from recsys.features.spilled import GrowingColumns
from recsys.schema import IMPRESSION, Attributes

#: Interactions that are looked at at a time.
_PIECE: Final = 4_000_000
_SHOWN: Final = pl.Schema({
    "event_id": pl.String(),
    "impression_id": pl.String(),
    "session_id": pl.String(),
    "occurred_at": pl.Int64(),
    "context": pl.String(),
    "user": pl.Int32(),
    "size": pl.Int64(),
})
_NAMED: Final = pl.Schema({"impression_id": pl.String(), "item": pl.Int32(), "grade": pl.Float32()})
_LOOSE: Final = {"user": np.int32, "item": np.int32, "occurred_at": np.int64, "grade": np.float32}
#: An interaction that names no impression belongs to the last list that showed the item to the
#: user, if that is no longer ago than this.
ATTRIBUTION_US = 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledSlates:
    """Past requests with graded candidates, oldest first.

    Args:
        slates: The requests; candidates in the order in which they were shown.
        grades: float32 (n_candidates,): 0 where nothing was done.
        log_q: float32 (n_candidates,): logarithm of the chance with which a candidate would have
            been drawn as a negative; None: candidates are those that were shown, or all there were.
    """

    slates: Slates
    grades: NDArray[np.float32]
    log_q: NDArray[np.float32] | None = None

    @property
    def sampled(self) -> bool:
        """Say whether the candidates were drawn, because the log has no impressions."""
        return self.log_q is not None

    def part(self, start: int, stop: int) -> LabelledSlates:
        """Cut out consecutive requests.

        Returns:
            Requests `start` to `stop` (exclusive).
        """
        low, high = self.slates.offsets[start], self.slates.offsets[stop]
        log_q = None if self.log_q is None else self.log_q[low:high]
        return LabelledSlates(self.slates.part(start, stop), self.grades[low:high], log_q)

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
        rows = self.slates.candidates_of(chosen)
        log_q = None if self.log_q is None else self.log_q[rows]
        return LabelledSlates(self.slates.take(chosen), self.grades[rows], log_q)


class ImpressionLabels:
    """Grades the impressions of a log while it is encoded: a watcher of `encode_log`.

    What stays in memory is the impressions, as training needs them, and the interactions that name
    one; those that name none, which may be the whole log, lie in a file where the log does.

    Args:
        labels: Grade of each interaction type.
        scratch: A folder with room for a part of the log; None: there is room in memory.
    """

    def __init__(self, labels: LabelsConfig, scratch: Path | None = None) -> None:
        self._labels = labels
        self._shown: list[pl.DataFrame] = []
        self._items: list[NDArray[np.int32]] = []
        self._said: list[tuple[int, Attributes]] = []
        self._n_shown = 0
        self._named: list[pl.DataFrame] = []
        self._loose = GrowingColumns(_LOOSE, scratch)

    def __call__(self, piece: LogSnapshot, log: EncodedLog) -> None:
        """Take a piece in."""
        # Both are in order of time: rows of one kind stand as the events do.
        is_shown = log.actions.types == log.types.index(IMPRESSION)
        self._take_impressions(piece.impressions, log.actions.items[is_shown], log.users)
        self._take_interactions(piece.interactions, log.actions.where(~is_shown))

    def labelled(self) -> LabelledSlates:
        """Grade what was taken in.

        Returns:
            One request per impression, as of the instant at which it was shown.
        """
        impressions = pl.concat([pl.DataFrame(schema=_SHOWN), *self._shown])
        order = impressions.select(pl.arg_sort_by("occurred_at", "event_id")).to_series()
        slates = Slates(
            users=impressions["user"].to_numpy(),
            as_of=impressions["occurred_at"].to_numpy(),
            items=np.concatenate([np.zeros(0, dtype=np.int32), *self._items]),
            offsets=np.concatenate([[0], np.cumsum(impressions["size"])]).astype(np.int64),
            context=_contexts(impressions["context"]),
            sessions=_sessions(impressions["session_id"]),
            candidates=candidate_columns(self._said, self._n_shown),
        ).take(order.to_numpy().astype(np.int64))
        impressions = impressions[order]
        grades = self._grades(slates, impressions["impression_id"])
        return LabelledSlates(slates, grades)

    def _take_impressions(
        self, impressions: pl.DataFrame, items: NDArray[np.int32], users: Entities
    ) -> None:
        lists = impressions["item_ids"]
        every = pl.DataFrame({
            "row": np.repeat(np.arange(len(lists)), lists.list.len().to_numpy()),
            "item": items,
            "item_id": lists.explode(empty_as_null=False),
        })
        shown = every.unique(["row", "item"], keep="first", maintain_order=True)
        self._said += _said(impressions["item_attributes"], shown, self._n_shown)
        self._n_shown += shown.height
        self._items.append(shown["item"].to_numpy())
        self._shown.append(
            impressions.select(
                "event_id", "impression_id", "session_id", "occurred_at", "context",
                user=pl.Series(users.rows_of(impressions["user_id"])),
                size=pl.Series(np.bincount(shown["row"].to_numpy(), minlength=len(lists))),
            )
        )  # fmt: skip

    def _take_interactions(self, interactions: pl.DataFrame, rows: Actions) -> None:
        numbers, names = number_texts(interactions["type"])
        values = interactions["value"].fill_null(float("nan")).to_numpy()
        grades = Grader(self._labels, names.to_list())(numbers, values)
        done = interactions.select(
            "impression_id", "occurred_at",
            user=pl.Series(rows.users),
            item=pl.Series(rows.items),
            grade=pl.Series(grades),
        )  # fmt: skip
        is_named = pl.col("impression_id") != ""
        self._named.append(done.filter(is_named).select("impression_id", "item", "grade"))
        loose = done.filter(~is_named & (pl.col("user") >= 0))
        self._loose.append({name: loose[name].to_numpy() for name in _LOOSE})

    def _grades(self, slates: Slates, impression_ids: pl.Series) -> NDArray[np.float32]:
        """Find the largest grade of each shown item.

        Returns:
            float32 (n_candidates,): 0 where nothing was done.
        """
        shown = pl.DataFrame({
            "request": np.repeat(np.arange(len(slates)), slates.sizes),
            "item": slates.items,
        })
        lists = impression_ids.to_frame().with_row_index("request").cast({"request": pl.Int64})
        named = pl.concat([pl.DataFrame(schema=_NAMED), *self._named])
        of_lists = named.join(lists, on="impression_id").select("request", "item", "grade")
        together = pl.concat([of_lists, *self._attributed(slates, shown)])
        best = together.group_by("request", "item").agg(pl.col("grade").max())
        graded = shown.join(best, on=["request", "item"], how="left", maintain_order="left")
        return graded["grade"].fill_null(0.0).to_numpy()

    def _attributed(self, slates: Slates, shown: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Find the lists to which interactions belong that name none.

        Yields:
            request, item, grade.
        """
        loose = self._loose.finish()
        by_time = shown.with_columns(
            user=pl.Series(slates.spread(slates.users)),
            occurred_at=pl.Series(slates.spread(slates.as_of)),
        )
        for start in range(0, len(loose["user"]) if len(slates) else 0, _PIECE):
            part = {name: column[start : start + _PIECE] for name, column in loose.items()}
            found = (
                pl
                .DataFrame(part)
                .sort("occurred_at")
                .join_asof(
                    by_time,
                    on="occurred_at",
                    by=["user", "item"],
                    strategy="backward",
                    tolerance=ATTRIBUTION_US,
                    check_sortedness=False,  # the lists are in order, the others sorted just above
                )
            )
            yield found.filter(pl.col("request").is_not_null()).select("request", "item", "grade")


def grade_of(labels: LabelsConfig, event_type: str) -> float:
    """Look up the grade of an interaction type.

    Returns:
        Its grade, `labels.other` for a type that is not listed.
    """
    return labels.grades.get(event_type, labels.other)


class Grader:
    """Grades interactions by their type, and by their value where a type has a least one.

    Args:
        labels: The rules.
        names: Types by number.
    """

    def __init__(self, labels: LabelsConfig, names: Sequence[str]) -> None:
        self._grades = np.array([grade_of(labels, name) for name in names], dtype=np.float32)
        self._least = np.array([labels.least_value.get(name, -np.inf) for name in names])

    def __call__(
        self, types: NDArray[np.integer], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Grade some interactions.

        Args:
            types: (n,): numbers of types.
            values: (n,): NaN where an interaction has none, which is not too small.

        Returns:
            float32 (n,)
        """
        return np.where(values < self._least[types], np.float32(0), self._grades[types])


def _contexts(texts: pl.Series) -> tuple[Attributes, ...]:
    numbers, distinct = number_texts(texts)
    decoded = [decode_attributes(text) for text in distinct.to_list()]
    return tuple(decoded[number] for number in numbers.tolist()) if any(decoded) else ()


def _sessions(ids: pl.Series) -> tuple[str, ...]:
    return tuple(ids.to_list()) if bool((ids != "").any()) else ()


def _said(texts: pl.Series, shown: pl.DataFrame, n_before: int) -> list[tuple[int, Attributes]]:
    """Find what was known of items within their lists.

    Returns:
        Positions among all that was shown, and attributes.
    """
    given = texts.to_frame("said").with_columns(row=pl.int_range(pl.len()))
    given = given.filter(~pl.col("said").is_in(["", "{}"]))
    known = {row: decode_attributes(text) for text, row in given.iter_rows()}
    rows = shown.with_row_index("place", n_before).join(given, on="row", how="semi")
    rows = rows.sort("place")
    columns = rows.select("place", "row", "item_id")
    found = ((place, known[row].get(item)) for place, row, item in columns.iter_rows())
    return [(place, attributes) for place, attributes in found if attributes]
