"""`recsys init`, and the option that names the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recsys.workspace import Workspace

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder with recsys.toml.", show_default=".")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_TEMPLATE = """\
# Configuration of a recsys workspace. Every key has a default; all keys: docs/configuration.md.
# A variable RECSYS_SECTION__KEY in the environment overrides a key.

[log]
path = "log.duckdb"

[plugins]
folder = "plugins"   # every *.py in it is a plugin

[labels.grades]      # graded relevance: the largest grade of what was done with a candidate
view = 1.0
click = 2.0
comment = 3.0
share = 4.0
purchase = 5.0

[serving]
port = 50051
clock = "{clock}"     # "log": time continues from the log's last event, for replays of old logs
"""


def open_folder(folder: Path) -> Workspace:
    """Open a workspace.

    Returns:
        The workspace.
    """
    from recsys.workspace import open_workspace

    return open_workspace(folder)


def make_workspace(folder: Path, clock: str = "system") -> Path:
    """Make a workspace where there is none.

    Returns:
        Its configuration file.

    Raises:
        WorkspaceError: There is one already.
    """
    from recsys.config import CONFIG_NAME
    from recsys.errors import WorkspaceError

    path = folder / CONFIG_NAME
    if path.exists():
        raise WorkspaceError(folder, f"a {CONFIG_NAME}", "a folder without one")
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    path.write_text(_TEMPLATE.format(clock=clock), encoding="utf-8")
    return path


def init(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Make a workspace: a folder with recsys.toml and an empty plugin folder."""
    made = make_workspace(workspace)
    if as_json:
        from recsys.cli.output import print_json

        print_json({"config": made})
        return
    typer.echo(f"made {made}")
    here = "" if workspace == Path() else f" -w {workspace}"
    typer.echo("next, with a log of your own (CSV, JSON lines or Parquet; docs/log.md):")
    for step in ("events import FILES", "train", "evaluate", "serve"):
        typer.echo(f"  recsys {step}{here}")
