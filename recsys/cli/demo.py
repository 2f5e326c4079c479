"""`recsys demo`: the whole path on real data, from a log to a list that changes with a click."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import make_workspace, open_folder

if TYPE_CHECKING:
    from recsys.cli.story import Story
    from recsys.pipeline.requests import RankedList
    from recsys.workspace import Workspace

_VIEWER = "demo-viewer"


def demo(
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Made anew.")] = Path(
        "build/demo"
    ),
    data: Annotated[Path, typer.Option(help="Events to learn from.")] = Path(
        "data/ranklens/events.jsonl.gz"
    ),
) -> None:
    """Import, train, evaluate, serve, rank, click, rank again; leaves a workspace to go on in."""
    opened = _fresh_workspace(workspace, data)
    _learn(opened, data)
    _tell(opened)
    _say("Go on by yourself")
    command = sys.argv[0]
    for line in (
        f"{command} serve --workspace {workspace}",
        f"{command} recommend --workspace {workspace} --user {_VIEWER} --explain 1",
        f"{command} evaluate --workspace {workspace}",
        f"{command} plugins list --workspace {workspace}",
    ):
        typer.echo(f"  {line}")


def _fresh_workspace(folder: Path, data: Path) -> Workspace:
    from recsys.config import CONFIG_NAME
    from recsys.errors import WorkspaceError

    if not data.exists():
        raise WorkspaceError(
            folder, f"no file {data}", "the demo's events; run it in the repository"
        )
    if folder.exists():
        if not (folder / CONFIG_NAME).exists():
            raise WorkspaceError(folder, "files of somebody else", "an empty or absent folder")
        shutil.rmtree(folder)
    make_workspace(folder, clock="log")
    return open_folder(folder)


def _learn(workspace: Workspace, data: Path) -> None:
    from recsys.cli.evaluate import evaluate_with_progress, print_evaluation
    from recsys.cli.events import import_with_progress, print_fields, print_import
    from recsys.cli.train import train_with_progress

    _say(f"1. Import {data} into {workspace.log_config.path}")
    imported = import_with_progress(workspace, [data])
    print_import(imported)
    print_fields(workspace, imported)
    _say("2. Fine-tune the text model, train the ranker, publish a bundle")
    report = train_with_progress(workspace, activate=True)
    if report is not None:
        typer.echo(f"bundle {report.version}: {report.n_features} features")
    _say("3. Evaluate on the newest fifth of the lists, which training has not seen")
    print_evaluation(evaluate_with_progress(workspace))


def _tell(workspace: Workspace) -> None:
    """Serve on a free port; rank, click and rank again over gRPC."""
    from recsys.cli.ranking import print_explanation
    from recsys.cli.story import make_story
    from recsys.events.snapshot import read_snapshot
    from recsys.serving.client import Client
    from recsys.serving.server import start_server

    server = start_server(workspace, port=0)
    try:
        _say(f"4. Serve on {server.address} and ask for a ranked list over gRPC")
        with Client(server.address) as client:
            story = make_story(read_snapshot(workspace.log_config))
            before = client.rank(user_id=_VIEWER, item_ids=story.candidates)
            story.choose_interest(before.item_ids)
            for title in story.clicked_titles():
                typer.echo(f"   {_VIEWER} clicks: {title}")
            written = client.write_events(story.clicks(_VIEWER))
            typer.echo(f"   {written.accepted} events acknowledged, durable on disk")
            after = client.rank(user_id=_VIEWER, item_ids=story.candidates, explain_top_k=1)
        _print_side_by_side(story, before, after)
        first = after.explanations[0]
        print_explanation(story.title(first.item_id), first)
    finally:
        server.stop()


def _print_side_by_side(story: Story, before: RankedList, after: RankedList) -> None:
    from recsys.cli.output import print_table

    was = {item: position for position, item in enumerate(before.item_ids, start=1)}
    rows: list[Sequence[str]] = []
    for position, (old, new) in enumerate(
        zip(before.item_ids, after.item_ids, strict=True), start=1
    ):
        moved = was[new] - position
        arrow = f"{moved:+d}" if moved else ""
        rows.append([str(position), story.title(old), story.title(new), arrow])
    print_table(
        f"The same {len(rows)} candidates before and after {story.n_clicks} clicks",
        ("#", "before", "after", "moved"),
        rows,
    )


def _say(text: str) -> None:
    typer.echo(f"\n{text}")
