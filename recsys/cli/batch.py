"""`recsys batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

cli = typer.Typer(help="Offline scoring, with the numbers of the server.")


@cli.callback()
def _group() -> None:
    """Offline scoring, with the numbers of the server."""


@cli.command()
def score(
    out: Annotated[Path, typer.Option(help="File to write: NAME.parquet or NAME.jsonl.")],
    workspace: WorkspaceOption = Path(),
    top_k: Annotated[int, typer.Option(help="Items per user.", min=1, max=10_000)] = 20,
    users: Annotated[
        Path | None, typer.Option(help="File with one user id a line; default: all of the log.")
    ] = None,
    shard: Annotated[
        str, typer.Option(help="K/N: the K-th of N shares of the users, for N processes.")
    ] = "1/1",
    as_json: JsonOption = False,
) -> None:
    """Write the top k items of every user as Parquet or JSON lines."""
    from recsys.batch.lists_file import check_out
    from recsys.batch.score import score_users, share_of_users
    from recsys.cli.output import notes, print_json, progress_lines
    from recsys.pipeline.engine import load_engine

    number, n_shares = read_shard(shard)
    opened = open_folder(workspace)
    wanted = read_user_ids(users) if users else None
    check_out(out)
    engine = load_engine(opened)
    chosen = share_of_users(engine.user_ids() if wanted is None else wanted, number, n_shares)
    with progress_lines() as progress:
        report = score_users(
            engine,
            out,
            user_ids=chosen,
            top_k=top_k,
            as_of=engine.now(opened.config.serving.clock),
            progress=progress,
        )
    if as_json:
        print_json({
            "out": out,
            "n_users": report.n_users,
            "n_rows": report.n_rows,
            "warnings": report.warnings,
        })
    else:
        typer.echo(f"{out}: {report.n_rows:,} rows of {report.n_users:,} users")
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


def read_user_ids(path: Path) -> list[str]:
    """Read user ids, one a line; empty lines are passed over.

    Returns:
        Each id once, in the order of the file.

    Raises:
        BadParameter: There is no such file, or it is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path} cannot be read; expected a text file with one user id a line"
        raise typer.BadParameter(problem, param_hint="--users") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
