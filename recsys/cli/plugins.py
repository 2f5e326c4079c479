"""`recsys plugins`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.testing.costs import Limits
    from recsys.testing.examine import Examiner
    from recsys.workspace import Workspace

cli = typer.Typer(help="List plugins, write new ones, check them.", no_args_is_help=True)


@cli.command("list")
def list_plugins(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List plugins with what they offer on this workspace's log."""
    from recsys.cli.output import print_json, print_table
    from recsys.events.snapshot import read_snapshot
    from recsys.features.actions import encode_log
    from recsys.features.profile import profile_log
    from recsys.plugins.loader import load_plugins
    from recsys.plugins.registry import ask_plugins

    opened = open_folder(workspace)
    config = opened.config
    snapshot = read_snapshot(opened.log_config)
    folder = opened.folder / config.plugins.folder
    plugins = load_plugins(folder, config.plugins.disabled, config.plugins.budget_s)
    profile = profile_log(snapshot, encode_log(snapshot))
    offers = {offer.plugin: offer for offer in ask_plugins(plugins, config, profile).offers}
    if as_json:
        print_json([
            {
                "name": plugin.name,
                "version": plugin.version,
                "origin": plugin.origin,
                "features": [feature.name for feature in offers[plugin.name].features],
                "feature_models": [model.name for model in offers[plugin.name].models],
            }
            for plugin in plugins
        ])
        return
    rows = [
        [
            plugin.name,
            plugin.version,
            plugin.origin,
            ", ".join(feature.name for feature in offers[plugin.name].features) or "-",
        ]
        for plugin in plugins
    ]
    print_table("Plugins", ("name", "version", "from", "features"), rows)


@cli.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores.")],
    workspace: WorkspaceOption = Path(),
    package: Annotated[
        bool, typer.Option("--package", help="Write a distribution with an entry point.")
    ] = False,
) -> None:
    """Write a plugin that works, with its test, to be edited."""
    from recsys.errors import PluginError
    from recsys.plugins.loader import load_plugins
    from recsys.plugins.scaffold import write_package, write_plugin

    opened = open_folder(workspace)
    config = opened.config.plugins
    for plugin in load_plugins(opened.folder / config.folder, (), config.budget_s):
        if plugin.name == name:
            cause = f"there is a plugin of this name in {plugin.origin}; expected a new name"
            raise PluginError(name, "new", cause)
    if package:
        files = write_package(opened.folder, name)
    else:
        files = write_plugin(opened.folder, config.folder, name)
    for path in files:
        typer.echo(f"wrote {path}")
    test = next(path for path in files if path.parent.name == "tests")
    typer.echo(f"Next: edit it, then `recsys plugins check {name}` and `pytest {test}`")


@cli.command()
def check(
    name: Annotated[str, typer.Argument(help="A plugin that `recsys plugins list` shows.")],
    workspace: WorkspaceOption = Path(),
    max_ms: Annotated[
        float, typer.Option(help="CPU time for 500 candidates, in milliseconds.", min=0)
    ] = 10.0,
    max_bytes: Annotated[
        float, typer.Option(help="Online state per key, in bytes.", min=0)
    ] = 2048.0,
    as_json: JsonOption = False,
) -> None:
    """Run the contract on a plugin: random logs, then the workspace's own.

    Exit status 1 where any part of it is broken.
    """
    from recsys.cli.output import print_json, print_table
    from recsys.testing.costs import Limits

    examiner = _examiner(open_folder(workspace), name, Limits(max_ms, max_bytes))
    findings = examiner.findings()
    if as_json:
        print_json({"plugin": name, "passed": all(f.passed for f in findings), "parts": findings})
    else:
        rows = [
            [f.part, f.log, "ok" if f.passed else "BROKEN", f.problem or f.facts] for f in findings
        ]
        print_table(f"Plugin {name}", ("part", "log", "", "found"), rows)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)


def _examiner(workspace: Workspace, name: str, limits: Limits) -> Examiner:
    """Get ready to check a plugin of a workspace; one without a log is checked on random ones.

    Returns:
        The examiner.
    """
    from recsys.errors import PluginError
    from recsys.events.snapshot import read_snapshot
    from recsys.features.actions import encode_log
    from recsys.features.profile import profile_log
    from recsys.plugins.loader import load_plugins
    from recsys.plugins.registry import ask_plugins
    from recsys.testing.examine import Examiner
    from recsys.testing.random_log import USUAL_LOG

    config = workspace.config
    folder = workspace.folder / config.plugins.folder
    plugins = load_plugins(folder, config.plugins.disabled, config.plugins.budget_s)
    plugin = next((plugin for plugin in plugins if plugin.name == name), None)
    if plugin is None:
        raise PluginError(name, "check", "no such plugin; `recsys plugins list` shows all")
    snapshot = read_snapshot(workspace.log_config)
    has_log = not snapshot.interactions.is_empty()
    profile = profile_log(snapshot, encode_log(snapshot)) if has_log else USUAL_LOG
    # Beside all others: names must not clash.
    ask_plugins(plugins, config, profile)
    own = snapshot if has_log else None
    return Examiner(plugin, config, own, profile, seeds=(1, 2, 3), limits=limits)
