"""Loading plugins: where they come from, and one line for each way to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import Config
from recsys.errors import ConfigError, PluginError
from recsys.features.profile import LogProfile
from recsys.plugins.loader import load_plugins
from recsys.plugins.registry import ask_plugins, load_capabilities

GOOD = """
import polars as pl
from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl

@hookimpl
def recsys_aggregates():
    return [count("night_actions", "*", by="item")]

@hookimpl
def recsys_features():
    return [Feature(name="night", expr=pl.col("night_actions") * 2)]
"""


def drop(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder


def ask(folder: Path, **settings):
    own = [p for p in load_plugins(folder) if p.origin.startswith(str(folder))]
    return ask_plugins(own, Config(**settings), LogProfile())


def test_first_party_plugins_come_by_entry_point() -> None:
    names = [plugin.name for plugin in load_plugins(None)]
    assert {"popularity", "user_activity", "recency", "affinity", "item_metadata"} <= set(names)
    assert names == sorted(names)


def test_a_file_in_the_folder_is_a_plugin(tmp_path) -> None:
    drop(tmp_path, "night", GOOD)
    assert ask(tmp_path).plan.names == ("night",)


def test_files_that_begin_with_an_underscore_are_not_plugins(tmp_path) -> None:
    drop(tmp_path, "_night", GOOD)
    assert not [p for p in load_plugins(tmp_path) if p.name == "_night"]


def test_a_disabled_plugin_is_not_even_imported(tmp_path) -> None:
    drop(tmp_path, "broken", "raise RuntimeError('never')")
    assert "broken" not in [p.name for p in load_plugins(tmp_path, ("broken",))]


def test_the_version_of_a_file_changes_with_its_text(tmp_path) -> None:
    drop(tmp_path, "night", GOOD)
    before = load_plugins(tmp_path)[-1].version
    drop(tmp_path, "night", GOOD + "\n# changed")
    assert load_plugins(tmp_path)[-1].version != before


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_module", "plugin bad, load: ModuleNotFoundError: No module named"),
        ("1 / 0", "plugin bad, load: ZeroDivisionError: division by zero"),
        ("def broken(:", "plugin bad, load: SyntaxError"),
        ("x = 1", "plugin bad, load: found no function marked @hookimpl"),
        (GOOD.replace("recsys_features", "recsys_fetures"), "plugin bad, load: .*recsys_fetures"),
        (
            GOOD.replace("recsys_features()", "recsys_features(weather)"),
            "plugin bad, load: .*weather",
        ),
    ],
)
def test_a_plugin_that_fails_to_load_is_one_line_with_its_cause(tmp_path, text, cause) -> None:
    drop(tmp_path, "bad", text)
    with pytest.raises(PluginError, match=cause) as caught:
        load_plugins(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("return [Feature", "raise RuntimeError('no'); [Feature", "recsys_features: RuntimeError"),
        ("return [Feature(", "return [dict(", "returned a dict; expected Feature"),
        ('pl.col("night_actions")', 'pl.col("nights")', "reads column 'nights'; expected"),
        ('by="item"', 'by="itme"', "key 'itme': expected global, user"),
    ],
)
def test_a_plugin_that_fails_in_a_hook_is_named_with_the_hook(tmp_path, old, new, cause) -> None:
    drop(tmp_path, "bad", GOOD.replace(old, new))
    with pytest.raises(PluginError, match=cause) as caught:
        ask(tmp_path)
    assert str(caught.value).startswith("plugin bad, recsys_")


def test_two_plugins_may_share_an_aggregate_and_not_a_feature(tmp_path) -> None:
    drop(tmp_path, "one", GOOD)
    drop(tmp_path, "two", GOOD.replace('name="night"', 'name="night2"'))
    assert ask(tmp_path).plan.names == ("night", "night2")
    drop(tmp_path, "two", GOOD)
    with pytest.raises(PluginError, match="feature night is offered by plugin one too"):
        ask(tmp_path)


def test_one_name_for_two_aggregates_is_an_error(tmp_path) -> None:
    drop(tmp_path, "one", GOOD)
    other = GOOD.replace('by="item"', 'by="user"').replace('name="night"', 'name="night2"')
    drop(tmp_path, "two", other)
    with pytest.raises(PluginError, match="night_actions differs from the one of plugin one"):
        ask(tmp_path)


def test_a_plugin_named_like_another_is_an_error(tmp_path) -> None:
    drop(tmp_path / "plugins", "popularity", GOOD)
    with pytest.raises(PluginError, match="second plugin of this name"):
        load_capabilities(tmp_path, Config(), LogProfile())


def test_settings_reach_the_plugin_they_are_for(tmp_path) -> None:
    text = GOOD.replace("recsys_features()", "recsys_features(settings)").replace(
        "* 2", "* settings['factor']"
    )
    drop(tmp_path, "night", text)
    plan = ask(tmp_path, settings={"night": {"factor": 7}}).plan
    assert "7" in str(plan.features[0].expr)


def test_settings_of_no_plugin_are_refused_with_the_name_that_was_meant(tmp_path) -> None:
    config = Config(settings={"varietey": {"strength": 0.3}, "popular": {}})
    with pytest.raises(ConfigError, match=r"settings.varietey: no such plugin; did you mean") as e:
        load_capabilities(tmp_path, config, LogProfile())
    assert "popular" not in str(e.value)
    disabled = Config(settings={"variety": {"strength": 0.3}}, plugins={"disabled": ["variety"]})
    assert load_capabilities(tmp_path, disabled, LogProfile()).plugins
