"""`recsys plugins`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder
from recsys.testing.limits import Limits

if TYPE_CHECKING:
    from recsys.evaluation.worth import Worth
    from recsys.testing.examine import Examiner
    from recsys.workspace import Workspace

_LIMITS: Final = Limits()
cli = typer.Typer(help="List plugins, write new ones, check them.", no_args_is_help=True)


@cli.command("list")
def list_plugins(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List plugins with what they offer on this workspace's log."""
    from recsys.cli.output import print_json, print_table, progress_lines
    from recsys.events.pieces import StoredLog
    from recsys.features.profile import profile_log
    from recsys.plugins.loader import load_plugins
    from recsys.plugins.registry import ask_for_importers, ask_plugins

    opened = open_folder(workspace)
    config = opened.config
    folder = opened.folder / config.plugins.folder
    plugins = load_plugins(folder, config.plugins.disabled, config.plugins.budget_s)
    with progress_lines() as progress:
        profile, _ = profile_log(StoredLog(opened.log_config, progress=progress))
    found = ask_plugins(plugins, config, profile)
    formats = ask_for_importers(plugins, config)
    listed = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "origin": plugin.origin,
            "features": [feature.name for feature in offer.features],
            "feature_models": [model.name for model in offer.models],
            "others": [
                *found.others[plugin.name],
                *(f"format {importer.name}" for importer in formats[plugin.name]),
            ],
        }
        for plugin, offer in zip(plugins, found.offers, strict=True)
    ]
    if as_json:
        print_json(listed)
    else:
        print_table("Plugins", ("name", "version", "from", "brings"), _as_rows(listed))


def _as_rows(listed: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for plugin in listed:
        models = [f"model {name}" for name in plugin["feature_models"]]
        brings = [*plugin["features"], *models, *plugin["others"]]
        nothing = "nothing on this log"
        about = [plugin[key] for key in ("name", "version", "origin")]
        rows.append([*about, ", ".join(brings) or nothing])
    return rows


@cli.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores.")],
    workspace: WorkspaceOption = Path(),
    package: Annotated[
        bool, typer.Option("--package", help="Write a distribution with an entry point.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a plugin that works, with its test, to be edited."""
    from recsys.cli.output import print_json
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
    if as_json:
        print_json({"files": files})
        return
    for path in files:
        typer.echo(f"wrote {path}")
    test = next(path for path in files if path.parent.name == "tests")
    where = "" if workspace == Path() else f" -w {workspace}"
    typer.echo(f"Next: edit it, then `recsys plugins check {name}{where}` and `pytest {test}`")


@cli.command()
def check(
    name: Annotated[str, typer.Argument(help="A plugin that `recsys plugins list` shows.")],
    workspace: WorkspaceOption = Path(),
    max_ms: Annotated[
        float, typer.Option(help="CPU time for 500 candidates, in milliseconds.", min=0)
    ] = _LIMITS.latency_ms,
    max_bytes: Annotated[
        float, typer.Option(help="Online state per key, in bytes.", min=0)
    ] = _LIMITS.bytes_per_key,
    as_json: JsonOption = False,
) -> None:
    """Run the contract on a plugin: random logs, then the workspace's own.

    Exit status 1 where any part of it is broken.
    """
    from recsys.cli.output import print_json, print_table

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


@cli.command()
def worth(
    name: Annotated[str, typer.Argument(help="A plugin with columns on this log.")],
    workspace: WorkspaceOption = Path(),
    rounds: Annotated[
        int, typer.Option(help="Average as many pairs of rankers, each with another seed.", min=1)
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train the ranker with and without a plugin; says what its columns add, and how sure that is.

    Measured on the validation slice, so that it may be asked as often as ideas come. Feature models
    are those of the active bundle; nothing is published.
    """
    from recsys.cli.output import print_json, progress_lines
    from recsys.evaluation.worth import plugin_worth
    from recsys.events.pieces import StoredLog

    opened = open_folder(workspace)
    with progress_lines() as progress:
        log = StoredLog(opened.log_config, progress=progress)
        found = plugin_worth(opened, log, name, rounds=rounds, progress=progress)
    if as_json:
        print_json(found)
    else:
        _print_worth(found)


def _print_worth(worth: Worth) -> None:
    from recsys.cli.output import print_table, results
    from recsys.evaluation.titles import interval_text

    shown = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
    rows = []
    for metric, title in shown.items():
        values = [f"{worth.rankings[side][metric]:.4f}" for side in ("without", "with")]
        rows.append([title, *values, interval_text(worth.difference[metric])])
    lists = f"{worth.n_measured:,} lists of the validation slice"
    headings = ("metric", "without", "with", "with - without, 95 % interval")
    print_table(f"Ranker with and without plugin {worth.plugin}, {lists}", headings, rows)
    uses = [
        [use.feature, f"{use.gain:.1%}", f"{use.place} of {worth.n_columns}"]
        for use in worth.columns
    ]
    print_table("Its columns in the ranker", ("column", "share of the gain", "place"), uses)
    _, low, high = worth.difference["ndcg@10"]
    verdict = "more than chance" if low > 0 else "less than nothing" if high < 0 else "not shown"
    results.print(f"worth in nDCG@10: {verdict}")


def _examiner(workspace: Workspace, name: str, limits: Limits) -> Examiner:
    """Get ready to check a plugin of a workspace; one without a log is checked on random ones.

    Returns:
        The examiner.
    """
    from recsys.errors import PluginError
    from recsys.events.pieces import StoredLog
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
    profile, _ = profile_log(StoredLog(workspace.log_config))
    own = StoredLog(workspace.log_config) if profile.event_types else None
    if own is None:
        profile = USUAL_LOG
    # Beside all others: names must not clash.
    ask_plugins(plugins, config, profile)
    return Examiner(plugin, config, own, profile, seeds=(1, 2, 3), limits=limits)
