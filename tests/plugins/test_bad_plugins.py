"""What is wrong with a plugin is one line that names it, the hook and the cause."""

from __future__ import annotations

import re
import threading
import time

import pytest
from bad_plugins import AT_CHECK, AT_LOAD

from recsys.cli.main import app
from recsys.cli.workspace import make_workspace
from recsys.config import Config, PluginsConfig
from recsys.errors import PluginError
from recsys.events.snapshot import snapshot_of
from recsys.features.profile import LogProfile
from recsys.plugins.loader import LoadedPlugin, load_plugin_file
from recsys.plugins.registry import load_capabilities
from recsys.testing.examine import Examiner
from recsys.testing.worlds import topic_world

#: What does not hang must not seem to on a busy machine; what hangs is waited for.
USUAL, SHORT = Config(), Config(plugins=PluginsConfig(budget_s=2.0))


@pytest.mark.parametrize("bad", AT_LOAD.values(), ids=AT_LOAD.keys())
def test_a_bad_plugin_is_one_line_when_it_is_loaded(tmp_path, bad) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text(bad.text)
    config = SHORT if "took longer" in bad.said else USUAL
    with pytest.raises(PluginError, match=f"^plugin bad, {bad.said}") as caught:
        load_capabilities(tmp_path, config, LogProfile(event_types={"click": 9}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", AT_LOAD.values(), ids=AT_LOAD.keys())
def test_a_bad_plugin_is_one_line_when_it_is_checked(tmp_path, capsys, monkeypatch, bad) -> None:
    # Only what hangs is waited for: on a busy machine good plugins take their time.
    budget_s = "2" if "took longer" in bad.said else "20"
    monkeypatch.setenv("RECSYS_PLUGINS__BUDGET_S", budget_s)
    make_workspace(tmp_path / "w")
    (tmp_path / "w" / "plugins" / "bad.py").write_text(bad.text)
    with pytest.raises(SystemExit) as stopped:
        app(["plugins", "check", "bad", "-w", str(tmp_path / "w")])
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    lines = (printed.err + printed.out).splitlines()
    # The pattern's own end is that of the cell where the line stands in a table.
    pattern = f"plugin bad, {bad.said.removesuffix('$')}"
    assert len([line for line in lines if re.search(pattern, line)]) == 1, lines


@pytest.mark.parametrize("name", AT_CHECK)
def test_what_shows_on_a_log_is_one_line_when_it_is_checked(tmp_path, name) -> None:
    bad, path = AT_CHECK[name], tmp_path / "bad.py"
    path.write_text(bad.text)
    plugin = LoadedPlugin("bad", str(path), "", load_plugin_file(path))
    own = snapshot_of(topic_world(n_users=6, n_lists=2).events)
    findings = Examiner(plugin, SHORT if "hang" in name else USUAL, own).findings()
    problems = [finding.problem for finding in findings if not finding.passed]
    assert [p for p in problems if re.match(f"plugin bad, {bad.said}", p)], problems
    assert not [p for p in problems if "\n" in p]


def test_a_plugin_that_hangs_in_a_loop_is_ended(tmp_path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text(AT_LOAD["hangs when imported"].text)
    with pytest.raises(PluginError, match="took longer"):
        load_capabilities(tmp_path, SHORT, LogProfile())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and "plugin bad" in names_of_threads():
        time.sleep(0.02)
    assert "plugin bad" not in names_of_threads()


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
