"""`recsys features`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.cli.served import served
from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.evaluation.drift import Drift
    from recsys.evaluation.served import ServedCheck
    from recsys.evaluation.skew import Skew
    from recsys.workspace import Workspace

#: Events to read at a time for a replay: as text they stand beside a state that has grown.
_REPLAY_EVENTS: Final = 200_000

cli = typer.Typer(
    help="Features: compute them, verify that both executions agree, see whether they shift.",
    no_args_is_help=True,
)


cli.command()(served)


@cli.command()
def backfill(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Compute the columns that training will read and that are not there yet.

    A new or changed plugin is computed alone; `recsys train` does the same by itself.
    """
    import time

    from recsys.cli.output import print_json, progress_lines
    from recsys.events.pieces import StoredLog
    from recsys.training.columns import backfill_columns

    opened = open_folder(workspace)
    begun = time.monotonic()
    with progress_lines() as progress:
        log = StoredLog(opened.log_config, progress=progress)
        found = backfill_columns(opened, log, progress)
    seconds = round(time.monotonic() - begun, 2)
    if as_json:
        print_json({"computed": found.computed, "found": found.found, "seconds": seconds})
        return
    typer.echo(
        f"{found.n_rows:,} candidates: {len(found.computed)} columns computed in {seconds} s, "
        f"{len(found.found)} were there"
    )
    for name in found.computed:
        typer.echo(f"  {name}")


@cli.command()
def verify(
    workspace: WorkspaceOption = Path(),
    replay: Annotated[
        bool, typer.Option("--replay", help="Replay the log, feature log or not.")
    ] = False,
    requests: Annotated[int, typer.Option(help="The newest served, or replayed.", min=1)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Compare what was served (the feature log) with what the log says.

    Without a feature log, or with --replay: replay the log through the online state and compare
    with the offline execution. Exit status 1 where any value differs, 2 where nothing could be
    compared.
    """
    from recsys.cli.output import print_json

    opened = open_folder(workspace)
    is_replay = replay or not any(opened.feature_log.glob("*.parquet"))
    found = _replayed(opened, requests) if is_replay else _served(opened, requests)
    if as_json:
        print_json(found)
    else:
        _print_check(found)
    if found.n_mismatches:
        raise typer.Exit(1)
    if not found.n_requests:
        raise typer.Exit(2)


@cli.command()
def drift(
    workspace: WorkspaceOption = Path(),
    bundle: Annotated[str, typer.Option(help="Version; empty: the active one.")] = "",
    lists: Annotated[int, typer.Option(help="The newest ones, at most.", min=1)] = 2000,
    above: Annotated[
        float, typer.Option(help="Exit status 1 where a column has shifted more; 0: never.", min=0)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compare the columns of new lists with those that a bundle learned from.

    By custom a population stability index (PSI) below 0.1 is stable and above 0.25 has shifted.
    """
    from recsys.cli.output import print_json, progress_lines
    from recsys.evaluation.drift import measure_drift
    from recsys.events.pieces import StoredLog

    opened = open_folder(workspace)
    with progress_lines() as progress:
        log = StoredLog(opened.log_config, progress=progress)
        found = measure_drift(opened, log, bundle or None, most_lists=lists, progress=progress)
    if as_json:
        print_json(found)
    else:
        _print_drift(found)
    if above and found.columns[0].psi > above:
        raise typer.Exit(1)


def _print_drift(drift: Drift) -> None:
    from recsys.cli.output import print_table, results
    from recsys.ranking.distribution import SHIFTED

    rows = [
        [
            shift.feature,
            shift.plugin,
            f"{shift.psi:.3f}",
            f"{shift.missing_then:.1%} -> {shift.missing_now:.1%}",
            f"{shift.gain:.1%}",
        ]
        for shift in drift.columns
    ]
    title = f"Bundle {drift.version}: the validation slice, and {drift.n_lists:,} lists since"
    print_table(title, ("column", "plugin", "PSI", "missing", "share of the ranker's gain"), rows)
    n_shifted = sum(shift.psi > SHIFTED for shift in drift.columns)
    gain = sum(shift.gain for shift in drift.columns if shift.psi > SHIFTED)
    results.print(
        f"{n_shifted} of {len(rows)} columns have shifted (PSI above {SHIFTED}); "
        f"they have {gain:.0%} of the ranker's gain"
    )


def _replayed(workspace: Workspace, n_requests: int) -> Skew:
    import numpy as np

    from recsys.cli.output import progress_lines
    from recsys.evaluation.skew import compare_executions
    from recsys.events.pieces import StoredLog
    from recsys.plugins.registry import load_capabilities
    from recsys.training.dataset import make_dataset

    rng = np.random.default_rng(workspace.config.seed)
    with progress_lines() as progress:
        log = StoredLog(workspace.log_config, progress=progress)
        dataset = make_dataset(log, workspace.config)
        plan = load_capabilities(workspace.folder, workspace.config, dataset.profile).plan
        # Its progress is that of the replay.
        again = StoredLog(workspace.log_config, n_events=_REPLAY_EVENTS)
        return compare_executions(
            again, dataset, plan, rng, n_requests=n_requests, progress=progress
        )


def _served(workspace: Workspace, n_requests: int) -> ServedCheck:
    from recsys.cli.output import progress_lines
    from recsys.evaluation.served import check_served
    from recsys.events.pieces import StoredLog
    from recsys.pipeline.feature_log import read_feature_log

    # The feature log first: what it saw is then in the log.
    served = read_feature_log(workspace.feature_log, n_requests)
    with progress_lines() as progress:
        log = StoredLog(workspace.log_config, progress=progress)
        return check_served(workspace, log, served)


def _print_check(found: Skew | ServedCheck) -> None:
    from recsys.evaluation.served import ServedCheck

    is_served = isinstance(found, ServedCheck)
    typer.echo(
        f"{found.n_mismatches} mismatches in {found.n_values:,} values "
        f"of {len(found.mismatches)} features over {found.n_requests} "
        f"{'served' if is_served else 'replayed'} requests"
    )
    for name, n_values in found.mismatches.items():
        if n_values:
            typer.echo(f"  {name}: {n_values}")
    if isinstance(found, ServedCheck):
        for one in found.examples:
            where = f"request {one.request_id!r}, item {one.item_id!r}"
            typer.echo(
                f"    {one.feature}: {where}: {one.served} served, {one.recomputed} in the log"
            )
        for reason, n_skipped in found.skipped.items():
            typer.echo(f"  {n_skipped} requests skipped: {reason}")
