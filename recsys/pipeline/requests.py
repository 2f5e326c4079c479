"""What is asked of the pipeline and what it answers; free of any transport."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from recsys.errors import RequestError
from recsys.pipeline.given import CandidateAttribute, check_given
from recsys.schema import MAX_ID_LENGTH, MAX_LIST_LENGTH, Attributes

MAX_TOP_K = MAX_LIST_LENGTH
#: Each explanation costs a hundred predictions, and none of them can be stopped half way.
MAX_EXPLAINED = 100
#: More than any feature reads of a past.
MAX_SEEDS: Final = 100


@dataclass(frozen=True, slots=True)
class Haste:
    """Why a request may get less than the whole answer.

    Args:
        answer_by: When the answer must be there, as `time.monotonic` counts; parts for which there
            is too little time are left out.
        others_wait: So many others wait for theirs that feature models are left out.
    """

    answer_by: float = math.inf
    others_wait: bool = False


UNHURRIED: Final = Haste()


@dataclass(frozen=True, slots=True)
class RankQuery:
    """Order these candidates for this user.

    Args:
        user_id: Unknown: a newcomer. Empty: nobody in particular.
        item_ids: Candidates, 1 to 10,000; duplicates are ranked once.
        request_id: Echoed.
        context: Request attributes.
        top_k: How many to return; 0: all.
        explain_top_k: How many of them to explain.
        exclude_item_ids: Never returned.
        session_id: The visit, as in the events; empty: that of the user.
        candidate_attributes: What the caller says of the candidates.
        seed_item_ids: What the user is looking at, such as the item of the page or those of the
            basket, the most important first; at most 100. They count as the newest of the past.
        as_of: Instant in microseconds whose past may be seen.
        haste: What may be left out for the sake of time.
    """

    user_id: str
    item_ids: list[str]
    as_of: int
    request_id: str = ""
    context: Attributes = field(default_factory=dict)
    top_k: int = 0
    explain_top_k: int = 0
    exclude_item_ids: list[str] = field(default_factory=list)
    session_id: str = ""
    candidate_attributes: list[CandidateAttribute] = field(default_factory=list)
    seed_item_ids: list[str] = field(default_factory=list)
    haste: Haste = UNHURRIED


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """Find candidates in the catalogue, then order them; fields as in `RankQuery`.

    Args:
        top_k: How many to return; 0: the default of 20.
        candidate_attributes: Each with the ids of its items.
        seed_item_ids: The list is of what goes with them, and they are not in it; empty: with the
            user's past.
    """

    user_id: str
    as_of: int
    request_id: str = ""
    context: Attributes = field(default_factory=dict)
    top_k: int = 20
    explain_top_k: int = 0
    exclude_item_ids: list[str] = field(default_factory=list)
    session_id: str = ""
    candidate_attributes: list[CandidateAttribute] = field(default_factory=list)
    seed_item_ids: list[str] = field(default_factory=list)
    haste: Haste = UNHURRIED


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one feature added to an item's score (SHAP value, in units of the raw score).

    Args:
        feature: Name of the ranker's column.
        value: The feature's value for this item; NaN when missing.
        contribution: Its part of the score.
    """

    feature: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item got its score: `base` plus all contributions is the score.

    Args:
        item_id: The item.
        base: Expected raw score.
        contributions: One per feature, largest effect first.
    """

    item_id: str
    base: float
    contributions: list[Contribution]


@dataclass(frozen=True, slots=True)
class RankedList:
    """The answer: items best first.

    Args:
        request_id: As asked.
        model_version: The bundle that ranked.
        item_ids: Best first.
        scores: Raw scores in the same order; always finite.
        explanations: Of the first `explain_top_k` items.
        warnings: What a caller should know (unknown items, missing features).
    """

    request_id: str
    model_version: str
    item_ids: list[str]
    scores: list[float]
    explanations: list[Explanation]
    warnings: list[str]


def check_rank(query: RankQuery) -> None:
    """Check a request to rank.

    Raises:
        RequestError: Names every field at fault.
    """
    found = _common_violations(query)
    if not query.item_ids:
        found.append(("item_ids", "is empty; expected 1 to 10,000 ids"))
    elif len(query.item_ids) > MAX_LIST_LENGTH:
        found.append(("item_ids", f"has {len(query.item_ids)} ids; expected 1 to 10,000"))
    else:
        found += _id_violations("item_ids", query.item_ids)
    found += check_given(query.candidate_attributes, len(query.item_ids))
    if found:
        raise RequestError(found)


def check_recommend(query: RecommendQuery) -> None:
    """Check a request to recommend.

    Raises:
        RequestError: Names every field at fault.
    """
    found = _common_violations(query)
    found += check_given(query.candidate_attributes, None)
    if found:
        raise RequestError(found)


def _common_violations(query: RankQuery | RecommendQuery) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    texts = {
        "request_id": query.request_id,
        "user_id": query.user_id,
        "session_id": query.session_id,
    }
    for name, value in texts.items():
        if len(value) > MAX_ID_LENGTH:
            found.append((name, f"has {len(value)} characters; expected at most {MAX_ID_LENGTH}"))
    numbers = {
        "top_k": (query.top_k, MAX_TOP_K),
        "explain_top_k": (query.explain_top_k, MAX_EXPLAINED),
    }
    for name, (number, most) in numbers.items():
        if not 0 <= number <= most:
            found.append((name, f"is {number}; expected 0 to {most}"))
    lists = {
        "exclude_item_ids": (query.exclude_item_ids, MAX_LIST_LENGTH),
        "seed_item_ids": (query.seed_item_ids, MAX_SEEDS),
    }
    for name, (ids, most) in lists.items():
        if len(ids) > most:
            found.append((name, f"has {len(ids)} ids; expected at most {most}"))
        else:
            found += _id_violations(name, ids)
    return found


def _id_violations(name: str, ids: list[str]) -> list[tuple[str, str]]:
    if not ids or 0 < len(min(ids, key=len)) <= len(max(ids, key=len)) <= MAX_ID_LENGTH:
        return []
    for position, value in enumerate(ids):
        if not value:
            return [(f"{name}[{position}]", "is empty; expected an id")]
        if len(value) > MAX_ID_LENGTH:
            return [
                (
                    f"{name}[{position}]",
                    f"has {len(value)} characters; expected at most {MAX_ID_LENGTH}",
                )
            ]
    return []
