"""`recsys train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.training.train import TrainReport
    from recsys.workspace import Workspace


def train(
    workspace: WorkspaceOption = Path(),
    activate: Annotated[bool, typer.Option(help="Let the new bundle serve.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Train on the log and publish a bundle."""
    from recsys.cli.output import print_json

    opened = open_folder(workspace)
    report = train_and_publish(opened, activate=activate)
    if as_json:
        print_json({"version": report.version, "active": activate, "metrics": report.metrics})
        return
    state = "active" if activate else "not active"
    typer.echo(f"bundle {report.version} ({state}): {report.n_features} features")
    for name, value in report.metrics.items():
        typer.echo(f"  {name}: {value:.4f}")


def train_and_publish(workspace: Workspace, *, activate: bool) -> TrainReport:
    """Fold the spool into the log, train, publish and perhaps activate; shows progress.

    Returns:
        The report of the run.
    """
    from recsys.bundle.store import BundleStore
    from recsys.cli.output import progress_lines
    from recsys.events.merge import merge_spool
    from recsys.events.snapshot import read_snapshot
    from recsys.training.train import train as run

    merge_spool(workspace.log_config)
    with progress_lines() as progress:
        report = run(workspace, read_snapshot(workspace.log_config), progress)
    if activate:
        BundleStore(workspace.bundles).activate(report.version)
    return report
