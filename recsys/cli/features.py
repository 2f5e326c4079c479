"""`recsys features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

cli = typer.Typer(help="Features: verify that both executions agree.", no_args_is_help=True)


@cli.command()
def verify(
    workspace: WorkspaceOption = Path(),
    requests: Annotated[int, typer.Option(help="Past requests to compare.", min=1)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Replay the log through the online state and compare it with the offline execution.

    Exit status 1 where any value differs.
    """
    import numpy as np

    from recsys.cli.output import print_json
    from recsys.evaluation.skew import compare_executions
    from recsys.events.snapshot import read_snapshot
    from recsys.features.profile import profile_log
    from recsys.plugins.registry import load_capabilities
    from recsys.training.dataset import make_dataset

    opened = open_folder(workspace)
    dataset = make_dataset(read_snapshot(opened.log_config), opened.config)
    profile = profile_log(dataset.snapshot, dataset.log)
    plan = load_capabilities(opened.folder, opened.config, profile).plan
    rng = np.random.default_rng(opened.config.seed)
    skew = compare_executions(dataset, plan, rng, requests)
    if as_json:
        print_json(skew)
    else:
        typer.echo(
            f"{skew.n_mismatches} mismatches in {skew.n_values:,} values "
            f"of {len(skew.mismatches)} features over {skew.n_requests} requests"
        )
        for name, n_values in skew.mismatches.items():
            if n_values:
                typer.echo(f"  {name}: {n_values}")
    if skew.n_mismatches:
        raise typer.Exit(1)
