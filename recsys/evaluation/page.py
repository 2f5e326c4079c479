"""A bundle on one page, for people: how well it ranks, by what, and what it was made of.

Everything on it was measured before and is kept beside the bundle; nothing is computed but, when it
is asked for, how far the columns of new lists have shifted. The page is one file without scripts
and without anything from elsewhere, so that it can be sent on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec

from recsys.bundle.contents import IMPORTANCE, read_json, read_profile, read_spreads
from recsys.bundle.durable import write_durably
from recsys.bundle.store import BundleInfo, BundleStore, OpenBundle
from recsys.errors import BundleError, PageError
from recsys.evaluation.drift import Drift
from recsys.evaluation.report import Evaluation
from recsys.evaluation.segments import TITLES as SEGMENTS
from recsys.evaluation.tables import Differences, Table
from recsys.evaluation.titles import CATALOGUE, FEW_LISTS, SHOWN, TITLES, in_order, interval_text
from recsys.plugins.registry import load_capabilities
from recsys.ranking.distribution import SHIFTED, Distribution
from recsys.ranking.metrics import Interval
from recsys.ranking.ranker import FeatureImportance, shares_of
from recsys.training.summary import CURVES
from recsys.workspace import Workspace

PAGE: Final = "report.html"
_METRIC: Final = "ndcg@10"
#: Rankings that are so far from the others that bars on one scale would show nothing.
_FAR_OFF: Final = frozenset({"random", "shown_order"})
_PROTOCOLS: Final = {
    "standard": "The newest requests, which it has not seen",
    "cold-items": "Trained anew with a tenth of all items held out of training and counters",
    "retrained": "Means of several trainings with seeds of their own",
}


@dataclass(frozen=True, slots=True)
class Span:
    """An interval as a bar on a common scale, in percent of its width.

    Args:
        text: In figures.
        left: Where it begins.
        width: How long it is.
        middle: Where its mean is.
        zero: Where the scale has zero.
        is_on_scale: Whether it is worth a bar; what is far off would leave no room for others.
    """

    text: str
    left: float
    width: float
    middle: float
    zero: float
    is_on_scale: bool


@dataclass(frozen=True, slots=True)
class RankingRow:
    """A ranking of a table.

    Args:
        title: What it is called.
        values: Its metrics, in figures.
        span: Its difference to the ranker without text; None: of that ranker itself.
    """

    title: str
    values: list[str]
    span: Span | None


@dataclass(frozen=True, slots=True)
class RankingTable:
    """Rankings of the same requests.

    Args:
        title: Which requests.
        headings: Names of the metrics.
        rows: The rankings.
    """

    title: str
    headings: list[str]
    rows: list[RankingRow]


@dataclass(frozen=True, slots=True)
class Measurement:
    """An evaluation that was kept.

    Args:
        title: Its protocol in words.
        notes: What a reader should know.
        tables: All requests, then what is new.
        leaks: Columns that are too good to be true.
    """

    title: str
    notes: list[str]
    tables: list[RankingTable]
    leaks: list[str]


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """A column of the ranker.

    Args:
        name: The column.
        plugin: Whose it is.
        gain: Share of what all splits won, in percent.
        missing: Share of values that were missing, in percent.
        heights: Its spread over the newest lists learned from, in percent of the tallest bin.
        low: Inner edge of the first bin; high: of the last; in figures, empty: one bin.
        shift: Population stability index of new lists; empty: not measured.
    """

    name: str
    plugin: str
    gain: float
    missing: float
    heights: list[float]
    low: str
    high: str
    shift: str


def write_page(
    workspace: Workspace, path: Path, version: str | None = None, drift: Drift | None = None
) -> Path:
    """Write the page of a bundle.

    Args:
        workspace: Where the bundle and its evaluations are.
        path: The file; replaced as a whole.
        version: None: the active bundle.
        drift: How far its columns have shifted, where that was measured.

    Returns:
        The file.

    Raises:
        BundleError: The bundle cannot be opened.
        PageError: The path is that of a folder.
    """
    if path.is_dir():
        raise PageError(path, "a folder", "the name of a file")
    store = BundleStore(workspace.bundles)
    bundle = store.open(version)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recsys.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        facts=_facts(bundle),
        measurements=_measurements(workspace, bundle.manifest.version),
        columns=_columns(workspace, bundle, drift),
        drift=drift,
        shifted=SHIFTED,
        curves=_curves(workspace),
        bundles=_bundles(store.list()),
        version=bundle.manifest.version,
        written_at=f"{_minute(datetime.now(UTC))} UTC",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text.encode())
    return path


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _facts(bundle: OpenBundle) -> dict[str, str]:
    manifest = bundle.manifest
    log, types = manifest.log, read_profile(bundle).event_types
    ends = (log.first_at, log.last_at)
    span = " to ".join(_minute(datetime.fromtimestamp(i / 1e6, UTC)) for i in ends if i is not None)
    return {
        "made": f"{_minute(manifest.created_at)} UTC by recsys {manifest.recsys_version}",
        "learned from": f"{log.n_interactions:,} interactions and {log.n_impressions:,} lists of "
        f"{log.n_users:,} users with {log.n_items:,} items, {span} UTC",
        "interactions": ", ".join(f"{name} {n:,}" for name, n in types.items()),
        "columns": f"{len(manifest.feature_names)} of {len(manifest.plugins)} plugins",
        "on the validation slice": ", ".join(
            f"{name.removeprefix('validation_').replace('_', ' ')} {value:.4f}"
            for name, value in manifest.metrics.items()
        ),
        "a second training": manifest.not_reproducible or "gives the same, on the same machine",
        "checksum": manifest.checksum,
    }


def _measurements(workspace: Workspace, version: str) -> list[Measurement]:
    folder = workspace.reports / "evaluations"
    found: list[Evaluation] = []
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            evaluation = msgspec.json.decode(path.read_bytes(), type=Evaluation)
        except msgspec.DecodeError:
            continue  # of a version with other fields
        # Bundles of the other protocols are gone, so of theirs the newest is shown.
        is_of_another = evaluation.protocol == "standard" and evaluation.version != version
        if not is_of_another and evaluation.protocol not in {one.protocol for one in found}:
            found.append(evaluation)
    order = list(_PROTOCOLS)
    return [_measurement(one) for one in sorted(found, key=lambda e: order.index(e.protocol))]


def _measurement(found: Evaluation) -> Measurement:
    whole = Table(found.n_measured, found.rankings, found.differences, found.differences_to)
    metrics = CATALOGUE if found.candidates == "catalogue" else SHOWN
    candidates = (
        "next interactions against the whole catalogue"
        if found.candidates == "catalogue"
        else "lists as they were shown"
    )
    notes = [
        f"{found.n_measured:,} of {found.n_requests:,} {candidates}; 95 % intervals from resampled "
        + ("users and trainings" if found.trainings else "users")
    ]
    notes += [f"trained {len(found.trainings)} times"] if found.trainings else []
    notes += [] if found.n_with_text else ["nothing was read as text"]
    tables = [_table("all requests", whole, metrics)]
    for name, table in found.segments.items():
        if table.n_measured >= FEW_LISTS:
            title = f"{SEGMENTS.get(name, name)} ({table.n_measured:,} lists)"
            tables.append(_table(title, table, metrics))
    leaks = [f"{leak.feature} (plugin {leak.plugin}): {leak.reason}" for leak in found.leaks]
    return Measurement(_PROTOCOLS[found.protocol], notes, tables, leaks)


def _table(title: str, table: Table, metrics: Mapping[str, str]) -> RankingTable:
    spans = _spans(table.differences)
    rows = [
        RankingRow(
            TITLES.get(name, name),
            [f"{table.rankings[name][metric]:.4f}" for metric in metrics],
            spans.get(name),
        )
        for name in in_order(table.rankings)
    ]
    return RankingTable(title, list(metrics.values()), rows)


def _spans(differences: Differences) -> dict[str, Span]:
    """Put the differences of the rankings on one scale.

    Returns:
        By ranking.
    """
    found = {name: by_metric[_METRIC] for name, by_metric in differences.items()}
    shown = [interval for name, interval in found.items() if name not in _FAR_OFF]
    low = min([0.0, *(interval.low for interval in shown)])
    high = max([0.0, *(interval.high for interval in shown)])

    def place(value: float) -> float:
        return 100 * (value - low) / ((high - low) or 1.0)

    def span(name: str, interval: Interval) -> Span:
        left, right = place(interval.low), place(interval.high)
        middle, zero = place(interval.mean), place(0.0)
        is_on_scale = name not in _FAR_OFF
        text = interval_text(interval)
        return Span(text, left, right - left, middle, zero, is_on_scale=is_on_scale)

    return {name: span(name, interval) for name, interval in found.items()}


def _columns(workspace: Workspace, bundle: OpenBundle, drift: Drift | None) -> list[ColumnRow]:
    importance = read_json(bundle.path / IMPORTANCE, list[FeatureImportance])
    profile = read_profile(bundle)
    owners = load_capabilities(workspace.folder, workspace.config, profile).plan.owners
    try:
        spreads = read_spreads(bundle)
    except BundleError:
        spreads = {}  # older bundles have none
    shifts = {column.feature: f"{column.psi:.2f}" for column in drift.columns} if drift else {}
    nothing_kept = Distribution((), (1.0,), 0.0)
    return [
        _column(
            name,
            plugin=owners.get(name, ""),
            share=share,
            spread=spreads.get(name, nothing_kept),
            shift=shifts.get(name, ""),
        )
        for name, share in shares_of(importance).items()
    ]


def _column(name: str, *, plugin: str, share: float, spread: Distribution, shift: str) -> ColumnRow:
    tallest = max(spread.shares, default=0.0) or 1.0
    return ColumnRow(
        name=name,
        plugin=plugin,
        gain=100 * share,
        missing=100 * spread.missing,
        heights=[100 * share / tallest for share in spread.shares],
        low=f"{spread.edges[0]:.4g}" if spread.edges else "",
        high=f"{spread.edges[-1]:.4g}" if spread.edges else "",
        shift=shift,
    )


def _curves(workspace: Workspace) -> str:
    """Find the picture of the newest run.

    Returns:
        SVG; empty where no run left one.
    """
    found = sorted(workspace.runs.glob(f"*/{CURVES}"), key=lambda path: path.stat().st_mtime)
    return found[-1].read_text(encoding="utf-8") if found else ""


def _bundles(listed: Sequence[BundleInfo]) -> list[dict[str, Any]]:
    return [
        {
            "version": one.version,
            "made": _minute(one.created_at),
            "active": one.active,
            "metrics": one.problem or ", ".join(f"{value:.4f}" for value in one.metrics.values()),
        }
        for one in reversed(listed)
    ]
