"""Parts of the test requests that have a table of their own: who and what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.titles import FEW_LISTS
from recsys.features.offline import OfflineReader
from recsys.features.vocabulary import count
from recsys.schema import IMPRESSION
from recsys.training.labels import LabelledSlates

#: A user, or a visit without one, with fewer interactions than this is new.
FEW_ACTIONS: Final = 3

#: What each segment is, for people.
TITLES: Final = {
    "new_users": f"users with fewer than {FEW_ACTIONS} interactions",
    "new_items": "items without any past event, among all others that were not acted on",
    "new_items_alone": "items without any past event, among themselves",
}


#: Values of an attribute that have a table: the most frequent ones.
MOST_VALUES: Final = 8


def values_by_request(
    test: LabelledSlates, reader: OfflineReader, attribute: str
) -> list[str | None]:
    """Read an attribute of every request.

    Args:
        test: Requests.
        reader: The log that features see.
        attribute: `user.NAME`, as of the request, or `context.NAME`.

    Returns:
        Values as text, one per request; None where it is missing or a list.
    """
    scope, _, name = attribute.partition(".")
    if scope == "context":
        sources = test.slates.context or [{}] * len(test.slates)
    else:
        rows = reader.user_versions(test.slates).tolist()
        sources = [reader.users.attributes(row) if row >= 0 else {} for row in rows]
    found = (source.get(name) for source in sources)
    return [None if value is None or isinstance(value, list) else str(value) for value in found]


class AttributeSegments:
    """Finds the frequent values of attributes, and the requests that have them.

    Args:
        attributes: `user.NAME` or `context.NAME`.
        reader: The log that features see.
    """

    def __init__(self, attributes: Sequence[str], reader: OfflineReader) -> None:
        self._reader = reader
        self._values: dict[str, list[str | None]] = {name: [] for name in attributes}

    def add(self, test: LabelledSlates) -> None:
        """Take requests in."""
        for attribute, values in self._values.items():
            values.extend(values_by_request(test, self._reader, attribute))

    def frequent(self) -> dict[str, NDArray[np.bool_]]:
        """List the segments that are worth a table.

        Returns:
            Which of the requests that were added are in it, by `ATTRIBUTE = VALUE`; attributes as
            given, the most frequent value first.
        """
        found = {}
        for attribute, values in self._values.items():
            n_lists = Counter(value for value in values if value is not None)
            for value, n in n_lists.most_common(MOST_VALUES):
                if n >= FEW_LISTS:
                    has_it = np.array([one == value for one in values])
                    found[f"{attribute} = {value}"] = has_it
        return found


def segment_rows(test: LabelledSlates, reader: OfflineReader) -> dict[str, NDArray[np.bool_]]:
    """Say which candidates each segment is measured on.

    Args:
        test: Requests.
        reader: The log that features see.

    Returns:
        bool (n_candidates,) by name of the segment. Of a request with new items that were acted on
        `new_items` leaves the others that were, so that only the new ones are looked for.
    """
    slates = test.slates
    of_user = reader.read(count("actions_of_user", "*", by="user"), slates)
    of_visit = reader.read(count("actions_of_visit", "*", by="visit"), slates)
    actions = np.fmax(of_user, of_visit)  # one of the two is missing
    events = reader.read(count("events_of_item", (IMPRESSION, "*"), by="item"), slates)
    new_item = ~(events > 0)
    return {
        "new_users": ~(actions >= FEW_ACTIONS),
        "new_items": new_item | (test.grades == 0),
        "new_items_alone": new_item,
    }
