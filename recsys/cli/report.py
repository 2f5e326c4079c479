"""`recsys report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.evaluation.drift import Drift
    from recsys.workspace import Workspace


def report(
    workspace: WorkspaceOption = Path(),
    bundle: Annotated[str, typer.Option(help="Version; empty: the active one.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="The page. [default: reports/report.html]")
    ] = None,
    drift: Annotated[
        bool, typer.Option("--drift", help="Also measure how far columns have shifted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a page about a bundle: how well it ranks, by what, and what it was made of.

    It shows the evaluations that were kept, so run `recsys evaluate` before.
    """
    from recsys.cli.output import print_json
    from recsys.evaluation.page import PAGE, write_page

    opened = open_folder(workspace)
    shift = _drift(opened, bundle) if drift else None
    path = write_page(opened, out or opened.reports / PAGE, bundle or None, shift)
    if as_json:
        print_json({"page": str(path)})
    else:
        typer.echo(f"written: {path}")


def _drift(workspace: Workspace, bundle: str) -> Drift:
    from recsys.cli.output import progress_lines
    from recsys.evaluation.drift import measure_drift
    from recsys.events.pieces import StoredLog

    with progress_lines() as progress:
        source = StoredLog(workspace.log_config, progress=progress)
        return measure_drift(workspace, source, bundle or None, progress=progress)
