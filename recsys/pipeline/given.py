"""What the caller of a request says of its candidates, such as a relevancy of another system."""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.candidates import CandidateColumn, CandidateColumns, text_column
from recsys.features.profile import Kind
from recsys.schema import MAX_ID_LENGTH, MAX_LIST_LENGTH, Attributes

#: Names in one request.
MAX_CANDIDATE_ATTRIBUTES: Final = 64
#: Characters of one text.
_MAX_TEXT_LENGTH: Final = 65_536

Violations = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CandidateAttribute:
    """One attribute of candidates, within their request only.

    Args:
        name: Read by features as `candidate.NAME`.
        numbers: One per item, NaN where there is none.
        texts: One per item, empty where there is none; instead of numbers.
        item_ids: Whose they are; empty: those of all candidates of the request, in their order.
    """

    name: str
    numbers: Sequence[float] = field(default_factory=tuple)
    texts: Sequence[str] = field(default_factory=tuple)
    item_ids: Sequence[str] = field(default_factory=tuple)


def given_of(item_attributes: Mapping[str, Attributes]) -> list[CandidateAttribute]:
    """Say in a request what an impression says of its items; lists of values are left out.

    Args:
        item_attributes: Attributes by item id.

    Returns:
        One entry per name, two where some of its values are texts and others numbers.
    """
    values: dict[tuple[str, bool], dict[str, Any]] = defaultdict(dict)
    for item_id, attributes in item_attributes.items():
        for name, value in attributes.items():
            if not isinstance(value, list):
                values[name, isinstance(value, str)][item_id] = value
    return [
        CandidateAttribute(
            name,
            () if is_text else tuple(said.values()),
            tuple(said.values()) if is_text else (),
            tuple(said),
        )
        for (name, is_text), said in values.items()
    ]


def columns_of(
    given: Iterable[CandidateAttribute], asked_ids: Sequence[str], item_ids: Sequence[str]
) -> CandidateColumns:
    """Lay out what was said of the candidates that are really ranked.

    Args:
        given: What was said; checked.
        asked_ids: Candidates as the caller named them; the first one of equal ones counts.
        item_ids: Candidates that are ranked.

    Returns:
        (n_candidates,) by name and kind.
    """
    found: dict[tuple[str, Kind], CandidateColumn] = {}
    for attribute in given:
        places = _places(attribute.item_ids or asked_ids, item_ids)
        if attribute.texts:
            texts = [*(text or None for text in attribute.texts), None]
            found[attribute.name, "string"] = text_column(texts[place] for place in places)
        else:
            numbers = np.array([*attribute.numbers, math.nan])
            found[attribute.name, "number"] = numbers[places]
    return found


def _places(ids: Sequence[str], item_ids: Sequence[str]) -> NDArray[np.int64]:
    """Find where the value of each candidate stands.

    Returns:
        int64 (n_candidates,): -1 where there is none.
    """
    if len(ids) == len(item_ids) and all(map(operator.eq, ids, item_ids)):
        return np.arange(len(ids))
    places = dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True))
    return np.array([places.get(item_id, -1) for item_id in item_ids], dtype=np.int64)


def check_given(given: Sequence[CandidateAttribute], n_asked: int | None) -> Violations:
    """Check what a caller says of candidates.

    Args:
        given: What was said.
        n_asked: Candidates that the caller named; None: the request names none.

    Returns:
        (field, description) pairs of what is at fault.
    """
    field_name = "candidate_attributes"
    if len(given) > MAX_CANDIDATE_ATTRIBUTES:
        text = f"has {len(given)} names; expected at most {MAX_CANDIDATE_ATTRIBUTES}"
        return [(field_name, text)]
    found: Violations = []
    seen: set[tuple[str, bool]] = set()
    for position, attribute in enumerate(given):
        problem = _problem(attribute, n_asked)
        key = (attribute.name, bool(attribute.texts))
        if key in seen:
            problem = f"names {attribute.name!r} again; expected each name once"
        seen.add(key)
        if problem:
            found.append((f"{field_name}[{position}]", problem))
    return found


def _problem(attribute: CandidateAttribute, n_asked: int | None) -> str:
    n_ids, n_values = len(attribute.item_ids), max(len(attribute.numbers), len(attribute.texts))
    n_wanted = n_ids or n_asked
    rules = (
        (not 0 < len(attribute.name) <= MAX_ID_LENGTH,
         f"has a name of {len(attribute.name)} characters; expected 1 to {MAX_ID_LENGTH}"),
        (bool(attribute.numbers) and bool(attribute.texts),
         "has numbers and texts; expected one of them"),
        (n_ids > MAX_LIST_LENGTH,
         f"has {n_ids} item_ids; expected at most {MAX_LIST_LENGTH}"),
        (n_wanted is None, "has no item_ids; expected the items that it is of"),
        (n_values != n_wanted, f"has {n_values} values for {n_wanted} items; expected one each"),
        (any(map(math.isinf, attribute.numbers)),
         "has an infinite number; expected finite ones, NaN where there is none"),
        (max(map(len, attribute.texts), default=0) > _MAX_TEXT_LENGTH,
         f"has a text of more than {_MAX_TEXT_LENGTH} characters; expected at most that"),
    )  # fmt: skip
    return next((text for broken, text in rules if broken), "")
