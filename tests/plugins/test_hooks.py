"""A hook exists only with documentation and a first-party plugin that uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import hookspecs
from recsys.plugins.loader import load_plugins

HOOKS = [name for name in vars(hookspecs) if name.startswith("recsys_")]
DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_used(hook) -> None:
    assert f"`{hook}`" in DOCS.read_text()
    assert any(hasattr(plugin.module, hook) for plugin in load_plugins(None))


def test_every_plugin_function_that_looks_like_a_hook_is_one() -> None:
    for plugin in load_plugins(None):
        offered = {name for name in vars(plugin.module) if name.startswith("recsys_")}
        assert offered <= set(HOOKS), plugin.name
