"""A plugin's own table is typed and closed, like the rest of the configuration."""

from __future__ import annotations

import pytest

from recsys.config import Section, load_config, parse_settings
from recsys.errors import ConfigError


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


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "RECSYS_SERVING__METRICS",
            "127.0.0.1:9090",
            "a single key is RECSYS_SERVING__METRICS__KEY",
        ),
        ("RECSYS_PLUGINS__DISABLED", "together", "found 'together'; expected JSON"),
        ("RECSYS_SERVING", "no", "RECSYS_SERVING: found 'no'"),
        ("RECSYS_SERVING__PROT", "0", "did you mean serving.port? (from RECSYS_SERVING__PROT)"),
        ("RECSYS_SERVING__PORT", "x", "serving.port: found 'x'"),
        ("RECSYS_SERVING__PORT", "x", "(from RECSYS_SERVING__PORT)"),
        ("RECSYS_SERVING__PIN", "x", "serving.pin: found 'x'; expected true, false or 'auto'"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch, tmp_path, name, value, expected) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert expected in str(caught.value)


def test_only_bad_variables_are_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", "together")
    monkeypatch.setenv("RECSYS_SERVING__CLOCK", "log")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert "RECSYS_SERVING__CLOCK" not in str(caught.value)
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["together"]')
    (tmp_path / "recsys.toml").write_text("[serving]\nport = -1\n", encoding="utf-8")
    monkeypatch.setenv("RECSYS_SERVING", '{"host": "::1"}')
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert "(from" not in str(caught.value)
    monkeypatch.setenv("RECSYS_SERVING", '{"port": -2}')
    with pytest.raises(ConfigError, match=r"serving.port: found -2.*\(from RECSYS_SERVING\)"):
        load_config(tmp_path)


def test_variables_win_over_the_file(monkeypatch, tmp_path) -> None:
    (tmp_path / "recsys.toml").write_text("[serving]\nport = 1\n", encoding="utf-8")
    monkeypatch.setenv("RECSYS_SERVING__PORT", "2")
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["together"]')
    config = load_config(tmp_path)
    assert config.serving.port == 2
    assert list(config.plugins.disabled) == ["together"]


@pytest.mark.parametrize(
    ("written", "expected"), [("true", True), ("false", False), ("'auto'", "auto")]
)
def test_a_switch_may_be_left_to_recsys(tmp_path, written, expected) -> None:
    (tmp_path / "recsys.toml").write_text(f"[serving]\npin = {written}\n", encoding="utf-8")
    assert load_config(tmp_path).serving.pin == expected
