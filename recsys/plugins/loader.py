"""Loads plugins: entry points of installed distributions, then files of the plugin folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pluggy

from recsys import hookspecs
from recsys.errors import PluginError
from recsys.plugins.watchdog import run_within

ENTRY_POINT_GROUP: Final = "recsys.plugins"
DEFAULT_BUDGET_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that is ready to be asked.

    Args:
        name: Entry point name, or file name without `.py`.
        origin: Distribution or file that it came from.
        version: Of the distribution; of a file the first digits of its hash.
        module: What implements the hooks.
    """

    name: str
    origin: str
    version: str
    module: Any


def load_plugins(
    folder: Path | None, disabled: tuple[str, ...] = (), budget_s: float = DEFAULT_BUDGET_S
) -> list[LoadedPlugin]:
    """Load every plugin that is not disabled.

    Args:
        folder: Drop-in folder; every `*.py` in it whose name does not start with an underscore is a
            plugin. None or a missing folder has none.
        disabled: Names that are passed over.
        budget_s: Seconds that the import of one plugin may take.

    Returns:
        Plugins in alphabetical order, installed ones first.

    Raises:
        PluginError: One fails to import or does not end in time, has a name that is taken, or
            implements an unknown hook.
    """
    plugins: list[LoadedPlugin] = []
    seen: dict[str, str] = {}
    for plugin in [
        *_installed(disabled, budget_s),
        *_dropped_in(folder, disabled, budget_s),
    ]:
        if plugin.name in seen:
            cause = f"found a second plugin of this name in {plugin.origin}"
            raise PluginError(plugin.name, "load", f"{cause}; the first is {seen[plugin.name]}")
        seen[plugin.name] = plugin.origin
        _check_hooks(plugin)
        plugins.append(plugin)
    return plugins


def _installed(disabled: tuple[str, ...], budget_s: float) -> Iterator[LoadedPlugin]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        if point.name not in disabled:
            module = run_within(budget_s, point.name, "load", point.load)
            yield LoadedPlugin(point.name, _origin(point), _version(point), module)


def _origin(point: EntryPoint) -> str:
    return _said_of(point.dist)[0] if point.dist else point.value


def _version(point: EntryPoint) -> str:
    return _said_of(point.dist)[1] if point.dist else ""


@cache
def _said_of(distribution: Distribution) -> tuple[str, str]:
    # Once for all of its plugins: each look parses the whole of the metadata.
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _dropped_in(
    folder: Path | None, disabled: tuple[str, ...], budget_s: float
) -> Iterator[LoadedPlugin]:
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_") and path.stem not in disabled:
            module = run_within(budget_s, path.stem, "load", partial(load_plugin_file, path))
            yield LoadedPlugin(path.stem, str(path), _file_version(path), module)


def _file_version(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def load_plugin_file(path: Path) -> ModuleType:
    """Import a file of a plugin folder, as opening a workspace does.

    Args:
        path: The file.

    Returns:
        The plugin.

    Raises:
        PluginError: It is not a Python file; whatever the file itself raises is raised.
    """
    name = f"recsys_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(path.stem, "load", f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_hooks(plugin: LoadedPlugin) -> None:
    """Let pluggy compare the plugin's functions with the contract.

    Raises:
        PluginError: A hook is unknown, takes an argument that does not exist, or there is none at
            all.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin.module, name=plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        lines = [line for line in str(error).splitlines() if line]
        raise PluginError(plugin.name, "load", lines[-1]) from error
    if not manager.get_hookcallers(plugin.module):
        cause = "found no function marked @hookimpl; expected at least one"
        raise PluginError(plugin.name, "load", cause)
