"""The top k of many users, or items, as a file, by the very engine that serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import xxhash

from recsys.batch.lists_file import lists_file, schema_of
from recsys.events.progress import Progress
from recsys.pipeline.engine import Engine
from recsys.pipeline.requests import RankedList, RecommendQuery

_LISTS_PER_GROUP = 1000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What was written.

    Args:
        n_lists: Users, or items, asked for.
        n_rows: Rows written; fewer than lists times top_k where candidates ran out.
        warnings: How many lists came with each warning, such as that of a plugin that failed.
    """

    n_lists: int
    n_rows: int
    warnings: dict[str, int]


def score_users(
    engine: Engine,
    out: Path,
    *,
    user_ids: Sequence[str],
    top_k: int,
    as_of: int,
    progress: Progress,
) -> BatchReport:
    """Recommend to every user and write the lists.

    The file appears under its name only when it is complete.

    Args:
        engine: Ranks.
        out: Parquet or JSON lines, as its name ends: user_id, rank (1 is best), item_id, score,
            model_version.
        user_ids: Whom to score; an unknown user gets the cold-start list.
        top_k: Items per user.
        as_of: The instant whose past is seen, in microseconds.
        progress: Called with (what, users done, users in all).

    Returns:
        The report.

    Raises:
        BatchError: The file cannot be written.
    """

    def ask(user: str) -> RecommendQuery:
        return RecommendQuery(user_id=user, as_of=as_of, top_k=top_k)

    told = partial(progress, "scoring users")
    return _write(engine, out, user_ids, whose="user_id", ask=ask, told=told)


def relate_items(
    engine: Engine,
    out: Path,
    *,
    item_ids: Sequence[str],
    top_k: int,
    as_of: int,
    progress: Progress,
) -> BatchReport:
    """Find what goes with every item, for nobody in particular, and write the lists.

    Args:
        engine: Ranks.
        out: As of `score_users`, with seed_item_id in the place of user_id.
        item_ids: Seeds, one list each; an unknown one gets what is recommended to a stranger.
        top_k: Items per list.
        as_of: The instant whose past is seen, in microseconds.
        progress: Called with (what, items done, items in all).

    Returns:
        The report.

    Raises:
        BatchError: The file cannot be written.
    """

    def ask(item: str) -> RecommendQuery:
        return RecommendQuery(user_id="", as_of=as_of, top_k=top_k, seed_item_ids=[item])

    told = partial(progress, "relating items")
    return _write(engine, out, item_ids, whose="seed_item_id", ask=ask, told=told)


def _write(
    engine: Engine,
    out: Path,
    ids: Sequence[str],
    *,
    whose: str,
    ask: Callable[[str], RecommendQuery],
    told: Callable[[int, int], None],
) -> BatchReport:
    n_rows, warnings, schema = 0, Counter[str](), schema_of(whose)
    with lists_file(out, schema) as writer:
        for start in range(0, len(ids), _LISTS_PER_GROUP):
            lists = []
            for one in ids[start : start + _LISTS_PER_GROUP]:
                lists.append((one, engine.recommend(ask(one))))
                warnings.update(lists[-1][1].warnings)
                told(start + len(lists), len(ids))
            table = _table(lists, schema)
            writer.write_table(table)
            n_rows += table.num_rows
    return BatchReport(len(ids), n_rows, dict(warnings.most_common()))


def share_of(ids: Sequence[str], number: int, n_shares: int) -> list[str]:
    """Choose what one of several processes makes lists for.

    Args:
        ids: All users, or items.
        number: Which share, from 1.
        n_shares: How many there are.

    Returns:
        Ids of the share in the order given; which are in it follows from the id alone.
    """
    return [one for one in ids if xxhash.xxh3_64_intdigest(one.encode()) % n_shares == number - 1]


def _table(lists: Sequence[tuple[str, RankedList]], schema: pa.Schema) -> pa.Table:
    whose = schema.names[0]
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for name, ranked in lists:
        n_items = len(ranked.item_ids)
        columns[whose] += [name] * n_items
        columns["rank"] += range(1, n_items + 1)
        columns["item_id"] += ranked.item_ids
        columns["score"] += ranked.scores
        columns["model_version"] += [ranked.model_version] * n_items
    return pa.table(columns, schema=schema)
