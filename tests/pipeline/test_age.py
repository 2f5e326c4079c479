"""An old log that is asked as of today is warned of."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from recsys.pipeline.age import warn_of_old_log
from recsys.schema import MICROSECONDS

DAY = 24 * 3600 * MICROSECONDS


@pytest.mark.parametrize(
    ("last_event_us", "now_us", "said"),
    [
        (1000 * DAY, 1000 * DAY + 1, []),
        (1000 * DAY, 1030 * DAY, []),
        (1000 * DAY, 1031 * DAY, [31]),
        (1000 * DAY, 2000 * DAY, [1000]),
        (0, 1000 * DAY, []),  # nothing is old where nothing is
        (1000 * DAY, 900 * DAY, []),
    ],
)
def test_a_log_that_ended_more_than_a_month_ago_is_warned_of(last_event_us, now_us, said) -> None:
    with capture_logs() as logs:
        warn_of_old_log(last_event_us, now_us)
    assert [line["newest_event_days_ago"] for line in logs] == said
    assert all(line["log_level"] == "warning" for line in logs)
