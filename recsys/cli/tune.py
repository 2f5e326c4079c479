"""`recsys tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder


def tune(
    workspace: WorkspaceOption = Path(),
    trials: Annotated[int, typer.Option(min=1, help="How many more to try.")] = 20,
    timeout_s: Annotated[
        float | None, typer.Option(help="Begin no trial after so many seconds.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search settings of the text-interest model; a search that is started again goes on."""
    from dataclasses import asdict

    from recsys.cli.output import print_json, progress_lines
    from recsys.events.pieces import StoredLog
    from recsys.training.tuning import tune as search

    opened = open_folder(workspace)
    with progress_lines() as progress:
        log = StoredLog(opened.log_config, progress=progress)
        report = search(opened, log, progress, n_trials=trials, timeout_s=timeout_s)
    if as_json:
        print_json(asdict(report))
        return
    typer.echo(f"{report.n_trials} trials, {report.n_pruned} given up early")
    typer.echo(f"nDCG@10 {report.best:.4f}; with the configuration as it is {report.default:.4f}")
    typer.echo(report.toml())
