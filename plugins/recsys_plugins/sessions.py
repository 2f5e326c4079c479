"""What happens in the running visit, and how often the user comes."""

from __future__ import annotations

import polars as pl

from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count, distinct, since_first, since_last
from recsys.hookspecs import hookimpl
from recsys.schema import IMPRESSION, SESSION

#: In a log of minutes everybody comes once: sessions repeat what is known of users.
_MIN_SPAN_S = 2 * 86_400.0
_DESCRIPTIONS = {
    "session_actions": "actions of the running session",
    "session_items": "different items acted on in it",
    "session_shows": "items shown in it",
    "session_s": "seconds since it began",
    "user_sessions": "sessions of the user so far",
    "user_last_session_s": "seconds since the user's newest session began",
}


@hookimpl
def recsys_aggregates(profile: LogProfile) -> list[Aggregate]:
    """Count within the session, and sessions, where the log spans two days."""
    if profile.span_s < _MIN_SPAN_S:
        return []
    return [
        count("session_actions", "*", by="session"),
        distinct("session_items", "*", by="session"),
        count("session_shows", IMPRESSION, by="session"),
        since_first("session_s", (IMPRESSION, "*"), by="session"),
        count("user_sessions", SESSION, by="user"),
        since_last("user_last_session_s", SESSION, by="user"),
    ]


@hookimpl
def recsys_features(profile: LogProfile) -> list[Feature]:
    """Offer them."""
    if profile.span_s < _MIN_SPAN_S:
        return []
    return [
        Feature(name=name, expr=pl.col(name), description=text)
        for name, text in _DESCRIPTIONS.items()
    ]
