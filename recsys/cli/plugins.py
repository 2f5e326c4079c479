"""`recsys plugins`."""

from __future__ import annotations

from pathlib import Path

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

cli = typer.Typer(help="What plugins are loaded and what they offer.", no_args_is_help=True)


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
