"""Says so where an old log is asked as of today: what was counted lately is nothing then."""

from __future__ import annotations

from typing import Final

import structlog

from recsys.schema import MICROSECONDS

_DAY_US: Final = 24 * 3600 * MICROSECONDS
#: The log of a shop that is open has younger events.
_OLD_DAYS: Final = 30

_log = structlog.get_logger("recsys.pipeline")


def warn_of_old_log(last_event_us: int, now_us: int) -> None:
    """Warn where the newest event is more than a month old.

    Args:
        last_event_us: When it became visible, in microseconds; 0: the log is empty.
        now_us: The instant of requests.
    """
    days = (now_us - last_event_us) // _DAY_US
    if last_event_us > 0 and days > _OLD_DAYS:
        _log.warning(
            "log_is_old",
            newest_event_days_ago=days,
            found="nothing counted for the last days",
            to_answer_as_on_its_last_day='[serving] clock = "log"',
        )
