"""`recsys features served`: requests of the feature log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.evaluation.inspection import Inspected

#: Requests, or candidates of one, that are shown.
_LISTED: Final = 20


def served(
    request_id: Annotated[
        str, typer.Argument(help="As the caller named it; empty: list the newest requests.")
    ] = "",
    workspace: WorkspaceOption = Path(),
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="List requests of this user.")
    ] = None,
    item: Annotated[str, typer.Option(help="Explain this candidate.")] = "",
    explain: Annotated[int, typer.Option(help="Best items to explain.", min=0)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Show requests of the feature log: what was served, in which order, and why."""
    from recsys.cli.output import print_json
    from recsys.evaluation.inspection import inspect_request
    from recsys.pipeline.feature_log import find_served, list_feature_log

    opened = open_folder(workspace)
    if not request_id:
        listed = list_feature_log(opened.feature_log, _LISTED, user)
        if as_json:
            print_json(listed.to_dicts())
        else:
            _print_listed(listed.to_dicts())
        return
    request = find_served(opened.feature_log, request_id)
    if request is None:
        problem = f"{request_id!r} is not in {opened.feature_log}; see [serving] feature_log_share"
        raise typer.BadParameter(problem, param_hint="REQUEST_ID")
    if item and item not in request.item_ids:
        problem = f"{item!r} was no candidate of request {request_id!r}"
        raise typer.BadParameter(problem, param_hint="--item")
    found = inspect_request(opened, request, n_best=explain, item_id=item)
    if as_json:
        print_json(_without_matrix(found))
    else:
        _print_inspected(found)


def _print_listed(rows: list[dict[str, Any]]) -> None:
    from recsys.cli.output import instant_text, print_table

    lines = [
        [
            instant_text(row["as_of"]),
            row["request_id"],
            row["user_id"],
            str(row["n_items"]),
            row["model_version"] + (" (incomplete)" if row["is_degraded"] else ""),
        ]
        for row in rows
    ]
    print_table("Feature log", ("at (UTC)", "request", "user", "candidates", "bundle"), lines)


def _print_inspected(found: Inspected) -> None:
    from recsys.cli.output import instant_text, print_table, results
    from recsys.cli.ranking import print_explanation

    request = found.request
    said = {"context": request.context, "session": request.session_id}
    said |= {"seeds": request.seed_item_ids, "candidates said": sorted(request.candidates)}
    results.print(
        f"request {request.request_id} of user {request.user_id or 'nobody'} at "
        f"{instant_text(request.as_of)} UTC, bundle {request.model_version}, "
        f"{request.n_events:,} events known"
    )
    for name, value in said.items():
        if value:
            results.print(f"  {name}: {value}")
    best = zip(found.item_ids[:_LISTED], found.scores, strict=False)
    rows = [[str(place), item, f"{score:.4f}"] for place, (item, score) in enumerate(best, 1)]
    print_table(f"{len(found.item_ids):,} candidates", ("#", "item", "score"), rows)
    for explanation in found.explanations:
        print_explanation(explanation.item_id, explanation)


def _without_matrix(found: Inspected) -> dict[str, Any]:
    request = found.request
    return {
        "request_id": request.request_id,
        "user_id": request.user_id,
        "as_of": request.as_of,
        "model_version": request.model_version,
        "is_degraded": request.is_degraded,
        "context": request.context,
        "session_id": request.session_id,
        "seed_item_ids": request.seed_item_ids,
        "item_ids": found.item_ids,
        "scores": found.scores,
        "explanations": found.explanations,
    }
