"""`recsys batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.workspace import WorkspaceOption, open_folder

cli = typer.Typer(help="Offline scoring, with the numbers of the server.")


@cli.callback()
def _group() -> None:
    """Offline scoring, with the numbers of the server."""


@cli.command()
def score(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    workspace: WorkspaceOption = Path(),
    top_k: Annotated[int, typer.Option(help="Items per user.", min=1, max=10_000)] = 20,
    users: Annotated[
        Path | None, typer.Option(help="File with one user id a line; default: all of the log.")
    ] = None,
) -> None:
    """Write the top k items of every user as Parquet."""
    from recsys.batch.score import score_users
    from recsys.cli.output import progress_lines
    from recsys.pipeline.engine import load_engine

    opened = open_folder(workspace)
    engine = load_engine(opened)
    with progress_lines() as progress:
        report = score_users(
            engine,
            out,
            user_ids=read_user_ids(users) if users else engine.user_ids(),
            top_k=top_k,
            as_of=engine.now(opened.config.serving.clock),
            progress=progress,
        )
    typer.echo(f"{out}: {report.n_rows:,} rows of {report.n_users:,} users")


def read_user_ids(path: Path) -> list[str]:
    """Read user ids, one a line; empty lines are passed over.

    Returns:
        Each id once, in the order of the file.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
