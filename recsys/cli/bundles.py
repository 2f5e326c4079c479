"""`recsys models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.bundle.store import BundleStore
    from recsys.evaluation.experiment import Experiment

cli = typer.Typer(help="Trained bundles: list, compare, activate, roll back.", no_args_is_help=True)
_HEADINGS: Final = {
    "acted_on": "lists acted on",
    "actions": "actions per list",
    "gain": "gain per list",
    "mrr": "MRR",
}


def _store(workspace: Path) -> BundleStore:
    from recsys.bundle.store import BundleStore

    return BundleStore(open_folder(workspace).bundles)


@cli.command("list")
def list_bundles(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List bundles, oldest first."""
    from recsys.cli.output import print_json, print_table

    bundles = _store(workspace).list()
    if as_json:
        print_json(bundles)
        return
    rows = [
        [
            bundle.version,
            "active" if bundle.active else "",
            f"{bundle.created_at:%Y-%m-%d %H:%M:%S}",
            bundle.problem or ", ".join(f"{k} {v:.4f}" for k, v in bundle.metrics.items()),
        ]
        for bundle in bundles
    ]
    print_table("Bundles", ("version", "state", "created (UTC)", "metrics"), rows)


@cli.command()
def activate(
    version: Annotated[str, typer.Argument(help="As `recsys models list` shows it.")],
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle and let it serve; running servers follow within a second, then load it."""
    _store(workspace).activate(version)
    _print_active(version, as_json=as_json)


@cli.command()
def rollback(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Return to the bundle that was active before."""
    _print_active(_store(workspace).roll_back(), as_json=as_json)


def _print_active(version: str, *, as_json: bool) -> None:
    from recsys.cli.output import print_json

    if as_json:
        print_json({"active": version})
    else:
        typer.echo(f"active: {version}")


@cli.command()
def compare(
    versions: Annotated[
        list[str] | None, typer.Argument(help="The baseline first; none: all there are.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    by: Annotated[
        str, typer.Option(help="Attribute of the impressions' context that says who ranked.")
    ] = "model_version",
    as_json: JsonOption = False,
) -> None:
    """Compare what users did with the lists of several bundles while all of them answered."""
    from recsys.cli.output import print_json, progress_lines
    from recsys.evaluation.experiment import compare_arms
    from recsys.events.pieces import StoredLog

    opened = open_folder(workspace)
    with progress_lines() as progress:
        log = StoredLog(opened.log_config, progress=progress)
        found = compare_arms(opened, log, by, versions or ())
    if as_json:
        print_json(found)
    else:
        _print_experiment(found)


def _print_experiment(found: Experiment) -> None:
    from recsys.cli.output import instant_text, print_table, results
    from recsys.evaluation.experiment import SUSPICIOUS
    from recsys.evaluation.titles import interval_text

    rows = []
    for arm in found.arms:
        row = [arm.name, f"{arm.n_users:,}", f"{arm.n_lists:,}"]
        rows.append(row + [f"{arm.metrics[metric]:.4f}" for metric in _HEADINGS])
    span = f"{instant_text(found.start_at)} to {instant_text(found.end_at)} UTC"
    title = f"Lists by context.{found.attribute}, {span}"
    print_table(title, ("", "users", "lists", *_HEADINGS.values()), rows)
    for arm in found.arms[1:]:
        for metric, interval in arm.differences.items():
            what = f"{arm.name} - {found.arms[0].name}, {_HEADINGS[metric]}"
            results.print(f"{what}: {interval_text(interval)}")
    explained = ", ".join(f"{_HEADINGS[name]} {found.explained[name]:.0%}" for name in _HEADINGS)
    before = f"what {found.n_before:,} of them did before explained: {explained}"
    results.print(f"95 % intervals over users; {before}")
    if found.n_mixed or found.n_unnamed:
        results.print(
            f"left out: {found.n_mixed:,} users who saw several, "
            f"{found.n_unnamed:,} lists of nobody named"
        )
    if found.uneven is not None and found.uneven < SUSPICIOUS:
        results.print(
            f"warning: users are not split as configured (chance of this: {found.uneven:.1e}); "
            "find out why before reading anything into differences"
        )
