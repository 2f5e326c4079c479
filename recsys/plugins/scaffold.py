"""Writes new plugins: files that work as they are, pass their tests, and are meant to be edited."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Final

from recsys.errors import PluginError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

_PLUGIN: Final = '''\
"""{title}: how much of what was ever done with an item was done in the last week.

An example that works: change the aggregates, the expression and the description to what you mean.
`recsys plugins check {name}` says whether it holds and what it costs.
"""

from __future__ import annotations

import polars as pl

from recsys.features.vocabulary import Aggregate, Feature, count
from recsys.hookspecs import hookimpl

WEEK_S = 7 * 86_400.0


@hookimpl
def recsys_aggregates() -> list[Aggregate]:
    """Count any interaction with the item: ever, and in the last week."""
    return [
        count("{name}_ever", "*", by="item"),
        count("{name}_week", "*", by="item", window_s=WEEK_S),
    ]


@hookimpl
def recsys_features() -> list[Feature]:
    """Offer the share; an item with which nothing was done yet has none, it is missing."""
    ever = pl.col("{name}_ever")
    return [
        Feature(
            name="{name}",
            expr=pl.when(ever > 0).then(pl.col("{name}_week") / ever),
            description="share of the interactions with the item that are of the last week",
        )
    ]
'''

_TEST: Final = '''\
"""The plugin `{name}` keeps the contract and means what it says."""

{standard}import pytest

{imports}
from recsys.schema import MICROSECONDS, InteractionEvent, VisibleEvent
from recsys.testing.contracts import PluginContract
from recsys.testing.values import feature_values

{plugin}
DAY = 86_400 * MICROSECONDS


class TestContract(PluginContract):
    plugin = {variable}


def did(day: int, item: str) -> VisibleEvent:
    event = InteractionEvent(f"{{item}}-{{day}}", day * DAY, "user", item, "click")
    return VisibleEvent(event, event.occurred_at)


def test_it_is_the_share_of_the_last_week() -> None:
    events = [did(1, "a"), did(40, "a"), did(41, "a"), did(1, "b")]
    values = feature_values({variable}, events, "user", ["a", "b", "c"], as_of=42 * DAY)
    assert values["{name}"][:2] == pytest.approx([2 / 3, 0.0])
    assert values["{name}"][2] is None
'''

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "recsys-{dashed}"
version = "0.1.0"
description = "A plugin for recsys: {title}."
requires-python = ">=3.11"
dependencies = ["recsys"]

[project.entry-points."recsys.plugins"]
{name} = "recsys_{name}.plugin"

[tool.hatch.build.targets.wheel]
packages = ["src/recsys_{name}"]
"""

_README: Final = """\
# recsys-{dashed}

A plugin for recsys: {title}.

    pip install .                    # wherever recsys is installed: it is found by its entry point
    recsys plugins list              # there it is
    recsys plugins check {name}      # the contract, on random logs and on the workspace's own
    pytest                           # its tests, the contract among them
"""


def write_plugin(workspace: Path, plugin_folder: str, name: str) -> list[Path]:
    """Write a plugin file into a workspace, and its test beside.

    Args:
        workspace: Folder of the workspace.
        plugin_folder: Name of its plugin folder.
        name: Of the plugin.

    Returns:
        The files.

    Raises:
        PluginError: The name will not do, or a file is there already.
    """
    _check_name(name)
    path = f'Path(__file__).parents[1] / "{plugin_folder}" / "{name}.py"'
    test = _TEST.format(
        name=name,
        standard="from pathlib import Path\n\n",
        imports="from recsys.plugins.loader import load_plugin_file",
        plugin=f"{name} = load_plugin_file({path})\n",
        variable=name,
    )
    return _write(
        name,
        {
            workspace / plugin_folder / f"{name}.py": _PLUGIN.format(name=name, title=_title(name)),
            workspace / "tests" / f"test_{name}.py": test,
        },
    )


def write_package(folder: Path, name: str) -> list[Path]:
    """Write a distribution with a plugin, its entry point and its test.

    Args:
        folder: Where the distribution's folder is made.
        name: Of the plugin.

    Returns:
        The files.

    Raises:
        PluginError: The name will not do, or a file is there already.
    """
    _check_name(name)
    dashed, title = name.replace("_", "-"), _title(name)
    root = folder / f"recsys-{dashed}"
    module = root / "src" / f"recsys_{name}"
    texts = {"name": name, "dashed": dashed, "title": title}
    test = _TEST.format(
        name=name,
        standard="",
        imports=f"from recsys_{name} import plugin\n",
        plugin="",
        variable="plugin",
    )
    return _write(
        name,
        {
            root / "pyproject.toml": _PYPROJECT.format(**texts),
            root / "README.md": _README.format(**texts),
            module / "__init__.py": f'"""A plugin for recsys: {title}."""\n',
            module / "plugin.py": _PLUGIN.format(**texts),
            root / "tests" / f"test_{name}.py": test,
        },
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        cause = f"found the name {name!r}; expected lower-case letters, digits and underscores"
        raise PluginError(name, "new", cause)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _write(name: str, texts: dict[Path, str]) -> list[Path]:
    for path in texts:
        if path.exists():
            raise PluginError(name, "new", f"{path} is there already; expected a new name")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)
