"""`recsys train`."""

from __future__ import annotations

from dataclasses import asdict
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
    ray: Annotated[int, typer.Option(help="Fit on so many Ray workers; needs recsys\\[ray].")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train on the log and publish a bundle; a run that was cut off is gone on with.

    With --ranker-only new features are tried in the time that a ranker takes. Under torchrun the
    text model is fitted by all processes together, and the first one publishes.
    """
    from recsys.cli.output import print_json

    opened = open_folder(workspace)
    report: TrainReport | None
    if ray and not ranker_only:
        from recsys.training.cluster import train_on_ray

        report = train_on_ray(opened, ray, activate=activate, fresh=fresh)
    else:
        report = train_with_progress(
            opened, activate=activate, ranker_only=ranker_only, fresh=fresh
        )
    if report is None:
        return
    if as_json:
        types = [asdict(found) for found in report.types]
        shown = {"version": report.version, "active": activate, "metrics": report.metrics}
        print_json({**shown, "types": types})
        return
    state = "active" if activate else "not active"
    typer.echo(f"bundle {report.version} ({state}): {report.n_features} features")
    for name, value in report.metrics.items():
        typer.echo(f"  {name}: {value:.4f}")
    for found in report.types:
        taken = f"{found.name} ({found.n_events:,}) counts as {found.grade:g}"
        if found.least_value is not None:
            taken += f" from {found.least_value:g} on, else as 0"
        typer.echo(f"  {taken}{'' if found.listed else ': not listed in [labels.grades]'}")


def train_with_progress(
    workspace: Workspace, *, activate: bool, ranker_only: bool = False, fresh: bool = False
) -> TrainReport | None:
    """Train and publish; the first of several processes shows progress.

    Returns:
        The report of the run; None in other processes than the first.
    """
    from recsys.cli.output import progress_lines
    from recsys.training.publishing import train_and_publish

    with progress_lines() as progress:
        return train_and_publish(
            workspace, progress, activate=activate, ranker_only=ranker_only, fresh=fresh
        )
