"""What a user and a request say of themselves: numbers as they are, lengths of texts and lists.

Columns are called what they are in the frame: `user.age`, `context.hour`. Items have a plugin of
their own, `item_metadata`; texts with few values become columns in `categories`.
"""

from __future__ import annotations

import polars as pl

from recsys.features.profile import AttributeProfile, LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

#: A query has a few words; a device has one, and a user agent many.
_MIN_WORDS, _MAX_WORDS = 1.2, 8.0


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer numbers and booleans, how many words texts have, and how long lists are."""
    features: list[Feature] = []
    for scope, attributes in (("user", profile.users), ("context", profile.context)):
        for name, attribute in attributes.items():
            features += _columns(f"{scope}.{name}", attribute)
    return features


def _columns(name: str, attribute: AttributeProfile) -> list[Feature]:
    column = pl.col(name)
    if attribute.numeric:
        return [Feature(name=name, expr=column, per_request=True)]
    if attribute.kind == "string" and _MIN_WORDS < attribute.mean_words < _MAX_WORDS:
        words = column.str.count_matches(r"\S+")
        text = f"words in {name}"
        return [Feature(name=f"{name}_words", expr=words, per_request=True, description=text)]
    if attribute.kind in {"strings", "numbers"}:
        length = column.list.len()
        return [Feature(name=f"{name}_n", expr=length, per_request=True)]
    return []
