"""Parts of the test requests that have a table of their own: who and what is new."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

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
