"""Plugins over what a request and a user say of themselves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from plugin_world import AGENTS, columns, rich_world
from recsys_plugins import attributes, local_time, referrer, user_agent
from recsys_plugins.referrer import MEDIUMS, SOURCES, parse_referrer
from recsys_plugins.user_agent import BROWSERS, SYSTEMS, parse_agent

from recsys.features.profile import LogProfile


@pytest.fixture(scope="module")
def events():
    return rich_world()


def test_numbers_of_users_and_requests_are_columns_of_their_own_name(events) -> None:
    slates, dataset, found, plan = columns(attributes, events)
    names = {"user.age", "context.budget", "context.query_words", "context.spot_n"}
    assert set(found) == names
    assert all(feature.per_request for feature in plan.features)
    users = [dataset.log.users.ids[u] for u in slates.spread(slates.users)]
    assert found["user.age"].tolist() == [20.0 + int(user[1:]) for user in users]
    assert set(found["context.query_words"]) == {2.0}


def test_hours_are_those_of_the_users_own_zone_and_nonsense_counts_as_the_default(events) -> None:
    slates, dataset, found, _ = columns(local_time, events, {"time_zone": "UTC"})
    hours = slates.spread(slates.as_of) / 3.6e9 % 24
    users = np.array([dataset.log.users.ids[u] for u in slates.spread(slates.users)])
    shift = (found["local_hour"] - hours + 12) % 24 - 12
    assert shift[users == "u1"] == pytest.approx(9.0, abs=1e-3)  # Tokyo
    assert shift[users == "u2"] == pytest.approx(0.0, abs=1e-3)  # no such zone
    assert shift[users == "u0"] == pytest.approx(1.0, abs=1e-3)  # Amsterdam in winter
    assert set(found["local_weekday"]) == set(range(7))


def test_a_zone_changes_its_clock_and_time_on_a_circle_has_no_gap(events) -> None:
    settings = {"time_zone": "Europe/Amsterdam", "cyclic": True}
    features = local_time.recsys_features(LogProfile(span_s=1e8), settings)
    # 2024-03-31T00:59:59Z is 01:59:59, a second later it is 03:00:00.
    instants = pl.DataFrame({"as_of": [1_711_846_799_000_000, 1_711_846_800_000_000]})
    found = instants.select(f.expr.alias(f.name) for f in features)
    assert found["local_hour"].to_list() == pytest.approx([1.99972, 3.0], abs=1e-4)
    assert found["local_weekday"].to_list() == [6, 6]
    circle = found["local_hour_sin"] ** 2 + found["local_hour_cos"] ** 2
    assert circle.to_list() == pytest.approx([1.0, 1.0])


def test_a_short_log_has_no_time_of_day_and_a_wrong_zone_is_an_error() -> None:
    assert local_time.recsys_features(LogProfile(span_s=1200.0), {}) == []
    with pytest.raises(ValueError, match="time_zone: found 'Mars'; expected a name such as"):
        local_time.recsys_features(LogProfile(), {"time_zone": "Mars"})


def test_user_agents_say_device_system_and_browser(events) -> None:
    _, _, found, plan = columns(user_agent, events)
    assert all(feature.per_request for feature in plan.features)
    assert (found["agent_mobile"] == (found["agent_system"] == SYSTEMS.index("Android"))).all()
    assert (found["agent_desktop"] == (found["agent_browser"] == BROWSERS.index("Firefox"))).all()
    assert not found["agent_bot"].any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AGENTS[0], (False, True, False, False, "Android", "Chrome")),
        (AGENTS[1], (False, False, False, True, "Windows", "Firefox")),
        (
            "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " Version/16.0 Mobile/15E148 Safari/604.1",
            (False, False, True, False, "iOS", "Safari"),
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            (True, False, False, False, "", ""),
        ),
        ("", (False, False, False, False, "", "")),
        ("no agent at all \x00 {}", (False, False, False, False, "", "")),
    ],
)
def test_an_agent_is_read_as_what_it_is(text, expected) -> None:
    found = parse_agent(text)
    system = SYSTEMS[found.system] if found.system < len(SYSTEMS) else ""
    browser = BROWSERS[found.browser] if found.browser < len(BROWSERS) else ""
    assert (*found[:4], system, browser) == expected


def test_a_log_without_agents_or_referrers_has_no_such_columns() -> None:
    assert user_agent.recsys_features(LogProfile(), {}) == []
    assert referrer.recsys_features(LogProfile(), {}) == []


def test_referrers_are_one_column_per_medium(events) -> None:
    _, _, found, _ = columns(referrer, events)
    mediums = np.stack([found[f"referrer_{medium}"] for medium in MEDIUMS])
    assert (mediums.sum(axis=0) == 1).all()
    assert found["referrer_search"].mean() == pytest.approx(0.5)
    assert (found["referrer_direct"] == 1 - found["referrer_search"]).all()


@pytest.mark.parametrize(
    ("address", "medium", "source"),
    [
        ("https://www.google.co.uk/search?q=x", "search", "google"),
        ("https://mail.google.com/", "email", "mail"),
        ("https://l.facebook.com/l.php", "social", "facebook"),
        ("https://www.google.com/?gclid=1", "paid", "google"),
        ("https://partner.org/?utm_medium=CPC", "paid", ""),
        ("shop.example.com/page", "internal", ""),
        ("https://notexample.com/", "other", ""),
        ("https://t.co/abc", "social", "t.co"),
        ("http://[broken", "other", ""),
        ("  ", "direct", ""),
    ],
)
def test_a_referrer_is_read_by_its_host_and_marks(address, medium, source) -> None:
    found, place = parse_referrer(address, ("example.com",))
    assert MEDIUMS[found] == medium
    assert (SOURCES[place] if place < len(SOURCES) else "") == source
