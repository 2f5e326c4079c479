"""`recsys evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder
from recsys.evaluation.titles import CATALOGUE, FEW_LISTS, SHOWN, TITLES, in_order, interval_text

if TYPE_CHECKING:
    from recsys.evaluation.report import Evaluation
    from recsys.evaluation.tables import Differences, Table
    from recsys.events.progress import Progress
    from recsys.events.snapshot import LogSource
    from recsys.workspace import Workspace


class Protocol(StrEnum):
    """How a bundle is measured."""

    STANDARD = "standard"
    COLD_ITEMS = "cold-items"
    RETRAINED = "retrained"


_SHORT: Final = {"click_rate": "click rate", "full": "with text"}
_NO_TEXT: Final = (
    "nothing was read as text, for lack of a text model or of items with text: "
    "the ranker with text is the one without, but for chance"
)
_COLD: Final = {"auc": "AUC", "mrr": "MRR", "ndcg@10": "nDCG@10"}


def evaluate(
    workspace: WorkspaceOption = Path(),
    bundle: Annotated[
        str, typer.Option(help="Version, of the standard protocol; empty: the active one.")
    ] = "",
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="cold-items: trains anew without a tenth of the items. "
            "retrained: trains several times with other seeds."
        ),
    ] = Protocol.STANDARD,
    trainings: Annotated[
        int, typer.Option(min=2, help="How many trainings the protocol retrained makes.")
    ] = 5,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Train this baseline and compare with it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on the newest requests, which it has not seen."""
    from recsys.cli.output import print_json

    opened, baselines = open_folder(workspace), tuple(baseline or ())
    if bundle and protocol is not Protocol.STANDARD:
        problem = f"{protocol.value} trains anew; expected no version"
        raise typer.BadParameter(problem, param_hint="--bundle")
    if protocol is Protocol.COLD_ITEMS:
        evaluation = _cold_items_with_progress(opened, baselines)
    elif protocol is Protocol.RETRAINED:
        evaluation = _retrained_with_progress(opened, trainings, baselines)
    else:
        evaluation = evaluate_with_progress(opened, bundle, baselines)
    if as_json:
        print_json(evaluation)
    else:
        print_evaluation(evaluation)


def evaluate_with_progress(
    workspace: Workspace, bundle: str = "", baselines: tuple[str, ...] = ()
) -> Evaluation:
    """Evaluate while a progress bar runs, and keep the result.

    Returns:
        The evaluation.
    """
    from recsys.evaluation.report import evaluate as run

    return _kept(
        workspace,
        lambda source, progress: run(
            workspace, source, bundle or None, baselines, progress=progress
        ),
    )


def _cold_items_with_progress(workspace: Workspace, baselines: tuple[str, ...]) -> Evaluation:
    from recsys.evaluation.cold_items import evaluate_cold_items

    return _kept(
        workspace,
        lambda source, progress: evaluate_cold_items(
            workspace, source, baselines, progress=progress
        ),
    )


def _retrained_with_progress(
    workspace: Workspace, trainings: int, baselines: tuple[str, ...]
) -> Evaluation:
    from recsys.evaluation.retrained import evaluate_retrained

    return _kept(
        workspace,
        lambda source, progress: evaluate_retrained(
            workspace, source, trainings, baselines, progress=progress
        ),
    )


def _kept(workspace: Workspace, measure: Callable[[LogSource, Progress], Evaluation]) -> Evaluation:
    from recsys.cli.output import progress_lines
    from recsys.evaluation.report import save_evaluation
    from recsys.events.pieces import StoredLog

    with progress_lines() as progress:
        source = StoredLog(workspace.log_config, progress=progress)
        evaluation = measure(source, progress)
    save_evaluation(workspace, evaluation)
    return evaluation


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the table of rankings, those of what is new, and the intervals of the differences."""
    from recsys.cli.output import results
    from recsys.evaluation.tables import Table

    whole = Table(
        evaluation.n_measured,
        evaluation.rankings,
        evaluation.differences,
        evaluation.differences_to,
    )
    names = CATALOGUE if evaluation.candidates == "catalogue" else SHOWN
    where = f"Test slice of bundle {evaluation.version}"
    if evaluation.protocol == "cold-items":
        where = "Test slice, a tenth of all items held out of training and counters"
    if evaluation.trainings:
        where = f"Test slice, means of {len(evaluation.trainings)} trainings"
    print_rankings(where, whole, names)
    results.print(_footing(evaluation))
    _print_trainings(evaluation)
    for warning in worse_than_simple(evaluation):
        results.print(warning)
    if not evaluation.n_with_text:
        results.print(_NO_TEXT)
    for baseline in sorted(set(evaluation.differences_to) - {"click_rate"}):
        for metric in ("auc", "ndcg@10"):
            # With rules the ranking before them is one of the baselines.
            ranking = "by_rules" if baseline == "full" else "full"
            found = interval_text(evaluation.differences_to[baseline][ranking][metric])
            what = f"{TITLES[ranking]} - {TITLES.get(baseline, baseline)}, {names[metric]}"
            results.print(f"{what}: {found}")
    _print_segments(evaluation)
    _print_beyond(evaluation)
    _print_leaks(evaluation)


def _print_trainings(evaluation: Evaluation) -> None:
    from recsys.cli.output import print_table

    rows = []
    for number, found in enumerate(evaluation.trainings, start=1):
        plain, full = found["without_text"]["ndcg@10"], found["full"]["ndcg@10"]
        rows.append([str(number), f"{plain:.4f}", f"{full:.4f}", f"{full - plain:+.4f}"])
    if rows:
        headings = ("training", "without text", "with text", "difference")
        print_table("Each training, nDCG@10", headings, rows)


def _print_segments(evaluation: Evaluation) -> None:
    from recsys.cli.output import results
    from recsys.evaluation.segments import TITLES

    for name, table in evaluation.segments.items():
        title = f"Cold start: {TITLES[name]}" if name in TITLES else name
        if evaluation.protocol == "cold-items" and name in {"new_items", "new_items_alone"}:
            title += ", a tenth of all items held out"
        if table.n_measured >= FEW_LISTS:
            print_rankings(f"{title} (lists: {table.n_measured})", table, _COLD, cold=True)
        else:
            found = f"{table.n_measured} such lists, too few to tell" if table.n_measured else ""
            results.print(f"{title}: {found or 'no such list'} in the test slice")


def worse_than_simple(evaluation: Evaluation) -> list[str]:
    """Find what ranks better than the ranker does, though it learned nothing.

    Returns:
        One line each, where the whole interval of the difference says so.
    """
    found = []
    for name in ("click_rate", "popularity"):
        if name not in evaluation.differences_to:
            continue
        difference = evaluation.differences_to[name]["full"]["ndcg@10"]
        _, _, high = difference
        if high < 0:
            found.append(
                f"warning: the ranker with text is worse than {TITLES.get(name, name)}: "
                f"nDCG@10 {interval_text(difference)}"
            )
    return found


def _print_beyond(evaluation: Evaluation) -> None:
    from recsys.cli.output import print_table

    found = evaluation.beyond_accuracy
    if not found:
        return
    measures = list(found["full"])
    rows = [
        [TITLES.get(name, name), *(f"{found[name][measure]:.4f}" for measure in measures)]
        for name in in_order(found)
    ]
    print_table("Beyond accuracy: the first ten places", ("ranking", *measures), rows)


def _print_leaks(evaluation: Evaluation) -> None:
    from recsys.cli.output import results

    for leak in evaluation.leaks:
        results.print(f"too good to be true? {leak.feature} (plugin {leak.plugin}): {leak.reason}")


def _footing(evaluation: Evaluation) -> str:
    if evaluation.candidates == "catalogue":
        how = (
            "next interactions ranked against the whole catalogue as it was then, because the log "
            "has no impressions; no negatives were sampled"
        )
        if evaluation.n_unreachable:
            how += f"; {evaluation.n_unreachable:,} interactions with items unknown before left out"
    else:
        how = "impressions: those with items acted on and items not"
    return (
        f"averaged over {evaluation.n_measured} of {evaluation.n_requests} {how}; "
        f"differences with 95 % intervals from resampled users{_and_trainings(evaluation)}; "
        "frozen: features as they stood when the slice began"
    )


def _and_trainings(evaluation: Evaluation) -> str:
    return " and trainings" if evaluation.trainings else ""


def print_rankings(
    title: str, table: Table, metrics: dict[str, str], *, cold: bool = False
) -> None:
    """Print a table of rankings.

    Args:
        title: Above it.
        table: The rankings.
        metrics: Headings by metric.
        cold: Also print the differences to click rate and to every baseline.
    """
    from recsys.cli.output import print_table

    differences = [table.differences]
    headings = ["nDCG@10 - without text"]
    # Of the whole slice the differences to baselines stand below the table, two metrics each.
    for other in table.differences_to if cold else ():
        differences.append(table.differences_to[other])
        headings.append(f"nDCG@10 - {_SHORT.get(other, other)}")
    rows = []
    for name in in_order(table.rankings):
        values = [f"{table.rankings[name][metric]:.4f}" for metric in metrics]
        rows.append([TITLES.get(name, name), *values, *(_interval(d, name) for d in differences)])
    print_table(title, ("ranking", *metrics.values(), *headings), rows)


def _interval(differences: Differences, name: str) -> str:
    if name not in differences:
        return "-"
    return interval_text(differences[name]["ndcg@10"])
