"""A plugin's own table is typed and closed, like the rest of the configuration."""

from __future__ import annotations

import pytest

from recsys.config import Section, parse_settings


class Mine(Section):
    time_zone: str = "UTC"
    buckets: int = 4


def test_settings_have_defaults_and_types() -> None:
    assert parse_settings(Mine, {"buckets": 9}) == Mine(buckets=9)
    assert parse_settings(Mine, {}).time_zone == "UTC"


def test_all_problems_of_a_table_are_one_line_with_the_nearest_key() -> None:
    with pytest.raises(ValueError, match="did you mean time_zone") as caught:
        parse_settings(Mine, {"time_zome": "CET", "buckets": "many"})
    assert "buckets: found 'many'; " in str(caught.value)
    assert "\n" not in str(caught.value)
