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
    ranker_only: Annotated[
        bool,
        typer.Option(
            "--ranker-only", help="Keep the feature models of the active bundle and their scores."
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not go on with a run that was cut off.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train on the log and publish a bundle; a run that was cut off is gone on with.

    With --ranker-only new features are tried in the time that a ranker takes.
    """
    from recsys.cli.output import print_json

    opened = open_folder(workspace)
    if fresh:
        from recsys.training.runs import remove_unfinished

        remove_unfinished(opened.runs)
    report = train_and_publish(opened, activate=activate, ranker_only=ranker_only)
    if as_json:
        print_json({"version": report.version, "active": activate, "metrics": report.metrics})
        return
    state = "active" if activate else "not active"
    typer.echo(f"bundle {report.version} ({state}): {report.n_features} features")
    for name, value in report.metrics.items():
        typer.echo(f"  {name}: {value:.4f}")


def train_and_publish(
    workspace: Workspace, *, activate: bool, ranker_only: bool = False
) -> TrainReport:
    """Fold the spool into the log, train, publish and perhaps activate; shows progress.

    Returns:
        The report of the run.
    """
    from recsys.bundle.store import BundleStore
    from recsys.cli.output import progress_lines
    from recsys.events.merge import merge_spool
    from recsys.events.snapshot import read_snapshot
    from recsys.training.train import train as run

    store = BundleStore(workspace.bundles)
    reuse = store.open() if ranker_only else None
    merge_spool(workspace.log_config)
    with progress_lines() as progress:
        report = run(workspace, read_snapshot(workspace.log_config), progress, reuse=reuse)
    if activate:
        store.activate(report.version)
    return report
