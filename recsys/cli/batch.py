"""`recsys batch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.batch.score import BatchReport
    from recsys.pipeline.engine import Engine

cli = typer.Typer(help="Offline scoring, with the numbers of the server.")


@cli.callback()
def _group() -> None:
    """Offline scoring, with the numbers of the server."""


OutOption = Annotated[Path, typer.Option(help="File to write: NAME.parquet or NAME.jsonl.")]
TopOption = Annotated[int, typer.Option(help="Items per list.", min=1, max=10_000)]
ShardOption = Annotated[str, typer.Option(help="K/N: the K-th of N shares, for N processes.")]


@cli.command()
def score(
    out: OutOption,
    workspace: WorkspaceOption = Path(),
    top_k: TopOption = 20,
    users: Annotated[
        Path | None, typer.Option(help="File with one user id a line; default: all of the log.")
    ] = None,
    shard: ShardOption = "1/1",
    as_json: JsonOption = False,
) -> None:
    """Write the top k items of every user as Parquet or JSON lines."""
    from recsys.batch.score import score_users
    from recsys.cli.output import progress_lines

    engine, ids, as_of = _open(workspace, out, shard, "users", users)
    with progress_lines() as progress:
        report = score_users(engine, out, user_ids=ids, top_k=top_k, as_of=as_of, progress=progress)
    _print(out, report, "users", as_json=as_json)


@cli.command()
def related(
    out: OutOption,
    workspace: WorkspaceOption = Path(),
    top_k: TopOption = 20,
    items: Annotated[
        Path | None, typer.Option(help="File with one item id a line; default: all of the log.")
    ] = None,
    shard: ShardOption = "1/1",
    as_json: JsonOption = False,
) -> None:
    """Write what goes with every item, for nobody in particular, as Parquet or JSON lines."""
    from recsys.batch.score import relate_items
    from recsys.cli.output import progress_lines

    engine, ids, as_of = _open(workspace, out, shard, "items", items)
    with progress_lines() as progress:
        report = relate_items(
            engine, out, item_ids=ids, top_k=top_k, as_of=as_of, progress=progress
        )
    _print(out, report, "items", as_json=as_json)


def _open(
    workspace: Path, out: Path, shard: str, what: Literal["users", "items"], chosen: Path | None
) -> tuple[Engine, list[str], int]:
    """Open what a command makes lists with.

    Returns:
        The engine, the ids of this share, and the instant.
    """
    from recsys.batch.lists_file import check_out
    from recsys.batch.score import share_of
    from recsys.pipeline.engine import load_engine

    number, n_shares = read_shard(shard)
    wanted = read_ids(chosen, f"--{what}") if chosen else None
    opened = open_folder(workspace)
    check_out(out)
    engine = load_engine(opened)
    if wanted is None:
        wanted = engine.user_ids() if what == "users" else engine.item_ids()
    ids = share_of(wanted, number, n_shares)
    return engine, ids, engine.now(opened.config.serving.clock)


def _print(out: Path, report: BatchReport, what: str, *, as_json: bool) -> None:
    from recsys.cli.output import notes, print_json

    if as_json:
        print_json({
            "out": out,
            f"n_{what}": report.n_lists,
            "n_rows": report.n_rows,
            "warnings": report.warnings,
        })
    else:
        typer.echo(f"{out}: {report.n_rows:,} rows of {report.n_lists:,} {what}")
    for warning, n_lists in report.warnings.items():
        notes.print(f"warning, {n_lists:,} lists: {warning}")


def read_shard(text: str) -> tuple[int, int]:
    """Read which share of how many is meant.

    Returns:
        Number, from 1, and how many there are.

    Raises:
        BadParameter: It is not K/N with 1 <= K <= N.
    """
    number, _, n_shares = text.partition("/")
    digits = number.isdecimal() and n_shares.isdecimal()
    if not digits or not 1 <= int(number) <= int(n_shares):
        problem = f"{text!r}; expected K/N with K from 1 to N, such as 2/8"
        raise typer.BadParameter(problem, param_hint="--shard")
    return int(number), int(n_shares)


def read_ids(path: Path, option: str) -> list[str]:
    """Read ids, one a line; empty lines are passed over.

    Args:
        path: The file.
        option: That names it, for errors.

    Returns:
        Each id once, in the order of the file.

    Raises:
        BadParameter: There is no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path} cannot be read; expected a text file with one id a line"
        raise typer.BadParameter(problem, param_hint=option) from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
