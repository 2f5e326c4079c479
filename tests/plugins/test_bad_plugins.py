"""What is wrong with a plugin is one line that names it, the hook and the cause."""

from __future__ import annotations

import threading
import time

import pytest
from bad_plugins import AT_LOAD

from recsys.config import Config, PluginsConfig
from recsys.errors import PluginError
from recsys.features.profile import LogProfile
from recsys.plugins.registry import load_capabilities

CONFIG = Config(plugins=PluginsConfig(budget_s=0.5))


@pytest.mark.parametrize("bad", AT_LOAD.values(), ids=AT_LOAD.keys())
def test_a_bad_plugin_is_one_line_when_it_is_loaded(tmp_path, bad) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text(bad.text)
    with pytest.raises(PluginError, match=f"^plugin bad, {bad.said}") as caught:
        load_capabilities(tmp_path, CONFIG, LogProfile(event_types={"click": 9}))
    assert "\n" not in str(caught.value)


def test_a_plugin_that_hangs_in_a_loop_is_ended(tmp_path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text(AT_LOAD["hangs when imported"].text)
    with pytest.raises(PluginError, match="took longer"):
        load_capabilities(tmp_path, CONFIG, LogProfile())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and "plugin bad" in names_of_threads():
        time.sleep(0.02)
    assert "plugin bad" not in names_of_threads()


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
