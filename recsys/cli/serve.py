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
    workers: Annotated[
        int | None, typer.Option(help="Processes on the port; default: as configured.", min=1)
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the stages of a call, of one a second.")
    ] = False,
) -> None:
    """Serve the active bundle over gRPC until SIGTERM or SIGINT."""
    from recsys.serving.workers import one_thread_each, serve_with_workers

    opened = open_folder(workspace)
    config = opened.config.serving
    n_workers = workers or config.workers
    if n_workers > 1:
        wanted = config.port if port is None else port
        serve_with_workers(opened, port=wanted, n_workers=n_workers, trace=trace)
        return
    one_thread_each()
    from recsys.serving.server import serve as run

    run(opened, port=port, trace=trace)
