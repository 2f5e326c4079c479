"""`recsys serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.workspace import WorkspaceOption, open_folder


def serve(
    workspace: WorkspaceOption = Path(),
    port: Annotated[
        int | None, typer.Option(help="0: a free one; default: as configured.", min=0, max=65535)
    ] = None,
) -> None:
    """Serve the active bundle over gRPC until SIGTERM or SIGINT."""
    from recsys.serving.server import serve as run

    run(open_folder(workspace), port=port)
