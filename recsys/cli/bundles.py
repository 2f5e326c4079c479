"""`recsys models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.bundle.store import BundleStore

cli = typer.Typer(help="Trained bundles: list, activate, roll back.", no_args_is_help=True)


def _store(workspace: Path) -> BundleStore:
    from recsys.bundle.store import BundleStore

    return BundleStore(open_folder(workspace).bundles)


@cli.command("list")
def list_bundles(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List bundles, oldest first."""
    from recsys.cli.output import print_json, print_table

    bundles = _store(workspace).list()
    if as_json:
        print_json(bundles)
        return
    rows = [
        [
            bundle.version,
            "active" if bundle.active else "",
            f"{bundle.created_at:%Y-%m-%d %H:%M:%S}",
            bundle.problem or ", ".join(f"{k} {v:.4f}" for k, v in bundle.metrics.items()),
        ]
        for bundle in bundles
    ]
    print_table("Bundles", ("version", "state", "created (UTC)", "metrics"), rows)


@cli.command()
def activate(
    version: Annotated[str, typer.Argument(help="As `recsys models list` shows it.")],
    workspace: WorkspaceOption = Path(),
) -> None:
    """Verify a bundle and let it serve; running servers follow within a second, then load it."""
    _store(workspace).activate(version)
    typer.echo(f"active: {version}")


@cli.command()
def rollback(workspace: WorkspaceOption = Path()) -> None:
    """Return to the bundle that was active before."""
    typer.echo(f"active: {_store(workspace).roll_back()}")
