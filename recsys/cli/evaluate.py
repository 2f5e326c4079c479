"""`recsys evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.evaluation.report import Evaluation

_TITLES = {
    "random": "random",
    "shown_order": "shown order",
    "click_rate": "click rate so far",
    "without_text": "ranker without text",
    "full": "ranker with text",
    "full_frozen": "ranker with text, frozen features",
}


def evaluate(
    workspace: WorkspaceOption = Path(),
    bundle: Annotated[str, typer.Option(help="Version; empty: the active one.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on the newest requests, which it has not seen."""
    from recsys.cli.output import print_json
    from recsys.evaluation.report import evaluate as run
    from recsys.events.snapshot import read_snapshot

    opened = open_folder(workspace)
    evaluation = run(opened, read_snapshot(opened.log_config), bundle or None)
    if as_json:
        print_json(evaluation)
    else:
        print_evaluation(evaluation)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the table of rankings and the intervals of their differences."""
    from recsys.cli.output import print_table, results

    names = sorted(evaluation.rankings, key=lambda name: list(_TITLES).index(name))
    metrics = ("auc", "mrr", "ndcg@5", "ndcg@10")
    rows = []
    for name in names:
        interval = evaluation.differences.get(name, {}).get("ndcg@10")
        difference = (
            f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]" if interval else "-"
        )
        values = [f"{evaluation.rankings[name][metric]:.4f}" for metric in metrics]
        rows.append([_TITLES[name], *values, difference])
    print_table(
        f"Test slice of bundle {evaluation.version}",
        ("ranking", "AUC", "MRR", "nDCG@5", "nDCG@10", "nDCG@10 - without text [95 %]"),
        rows,
    )
    how = "lists with sampled negatives" if evaluation.sampled else "impressions"
    results.print(
        f"averaged over {evaluation.n_measured} of {evaluation.n_requests} {how}: "
        "those with items acted on and items not; intervals from resampled users; "
        "frozen: features as they stood when the slice began"
    )
