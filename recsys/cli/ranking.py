"""`recsys rank` and `recsys recommend`: one request, answered here, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder
from recsys.schema import Attributes

if TYPE_CHECKING:
    from recsys.pipeline.engine import Engine
    from recsys.pipeline.requests import RankedList

UserOption = Annotated[str, typer.Option("--user", "-u", help="User id; empty: nobody known.")]
SessionOption = Annotated[str, typer.Option("--session", help="Id of the visit; empty: unknown.")]
TopOption = Annotated[int, typer.Option("--top-k", "-k", help="Items to return; 0: all.", min=0)]
RecommendedOption = Annotated[int, typer.Option("--top-k", "-k", help="Items to return.", min=1)]
ExplainOption = Annotated[int, typer.Option("--explain", help="Items to explain.", min=0)]
ExcludeOption = Annotated[list[str] | None, typer.Option("--exclude", help="Item never returned.")]
SeedOption = Annotated[
    list[str] | None, typer.Option("--seed", help="Item that the user is looking at.")
]
ContextOption = Annotated[
    str, typer.Option(help='What is known of the request, as JSON: \'{"device": "phone"}\'.')
]


def rank(
    item_ids: Annotated[list[str], typer.Argument(help="Candidates.")],
    workspace: WorkspaceOption = Path(),
    user: UserOption = "",
    session: SessionOption = "",
    top_k: TopOption = 0,
    explain: ExplainOption = 0,
    exclude: ExcludeOption = None,
    seed: SeedOption = None,
    context: ContextOption = "{}",
    as_json: JsonOption = False,
) -> None:
    """Order candidates for a user with the active bundle and the log as it is now."""
    from recsys.pipeline.engine import load_engine
    from recsys.pipeline.requests import RankQuery

    opened = open_folder(workspace)
    engine = load_engine(opened)
    query = RankQuery(
        user_id=user,
        session_id=session,
        item_ids=item_ids,
        as_of=engine.now(opened.config.serving.clock),
        top_k=top_k,
        explain_top_k=explain,
        exclude_item_ids=exclude or [],
        seed_item_ids=seed or [],
        context=read_context(context),
    )
    _print(engine, engine.rank(query), as_json=as_json)


def recommend(
    workspace: WorkspaceOption = Path(),
    user: UserOption = "",
    session: SessionOption = "",
    top_k: RecommendedOption = 20,
    explain: ExplainOption = 0,
    exclude: ExcludeOption = None,
    seed: SeedOption = None,
    context: ContextOption = "{}",
    as_json: JsonOption = False,
) -> None:
    """Find items for a user in the catalogue and order them."""
    from recsys.pipeline.engine import load_engine
    from recsys.pipeline.requests import RecommendQuery

    opened = open_folder(workspace)
    engine = load_engine(opened)
    query = RecommendQuery(
        user_id=user,
        session_id=session,
        as_of=engine.now(opened.config.serving.clock),
        top_k=top_k,
        explain_top_k=explain,
        exclude_item_ids=exclude or [],
        seed_item_ids=seed or [],
        context=read_context(context),
    )
    _print(engine, engine.recommend(query), as_json=as_json)


def read_context(text: str) -> Attributes:
    """Read request attributes.

    Returns:
        Values by name, as an event carries them.

    Raises:
        BadParameter: It is no JSON object, or a value is none that an attribute can have.
    """
    from recsys.errors import EventError
    from recsys.events.checks import check_attributes
    from recsys.events.codec import JsonAttributes

    try:
        found = cast(Attributes, msgspec.json.decode(text, type=JsonAttributes))
        check_attributes("context", found)
    except (msgspec.DecodeError, EventError) as error:
        problem = f'{text!r}: {error}; expected a JSON object such as {{"device": "phone"}}'
        raise typer.BadParameter(problem, param_hint="--context") from error
    return found


def _print(engine: Engine, ranked: RankedList, *, as_json: bool) -> None:
    from recsys.cli.output import notes, print_json, print_table

    if as_json:
        print_json(ranked)
        return
    rows = [
        [str(position), item_id, f"{score:.4f}", engine.title(item_id)]
        for position, (item_id, score) in enumerate(
            zip(ranked.item_ids, ranked.scores, strict=True), start=1
        )
    ]
    print_table(f"Bundle {ranked.model_version}", ("#", "item", "score", "title"), rows)
    for explanation in ranked.explanations:
        print_explanation(engine.title(explanation.item_id), explanation)
    for warning in ranked.warnings:
        notes.print(f"warning: {warning}")


def print_explanation(title: str, explanation: object, n: int = 8) -> None:
    """Print what moved an item's score most.

    Args:
        title: Of the item.
        explanation: From the pipeline or from the wire; both have base and contributions.
        n: Contributions to print; the rest is summed up.
    """
    from recsys.cli.output import print_table

    parts = list(explanation.contributions)  # type: ignore[attr-defined]
    rows = [[p.feature, f"{p.value:.4g}", f"{p.contribution:+.4f}"] for p in parts[:n]]
    rest = sum(p.contribution for p in parts[n:])
    base = explanation.base  # type: ignore[attr-defined]
    rows += [[f"{len(parts) - n} others", "", f"{rest:+.4f}"], ["base", "", f"{base:+.4f}"]]
    columns = ("feature", "value", "adds to the score")
    print_table(f"Why {title}", columns, rows)
