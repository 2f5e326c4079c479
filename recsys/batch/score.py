"""The top k of many users as a file, by the very engine that serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import xxhash

from recsys.batch.lists_file import SCHEMA, lists_file
from recsys.events.progress import Progress
from recsys.pipeline.engine import Engine
from recsys.pipeline.requests import RankedList, RecommendQuery

_USERS_PER_GROUP = 1000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What was written.

    Args:
        n_users: Users asked for.
        n_rows: Rows written; fewer than users times top_k where candidates ran out.
        warnings: How many lists came with each warning, such as that of a plugin that failed.
    """

    n_users: int
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
    n_rows, warnings = 0, Counter[str]()
    with lists_file(out) as writer:
        for start in range(0, len(user_ids), _USERS_PER_GROUP):
            lists = []
            for user_id in user_ids[start : start + _USERS_PER_GROUP]:
                query = RecommendQuery(user_id=user_id, as_of=as_of, top_k=top_k)
                lists.append((user_id, engine.recommend(query)))
                warnings.update(lists[-1][1].warnings)
                progress("scoring users", start + len(lists), len(user_ids))
            table = _table(lists)
            writer.write_table(table)
            n_rows += table.num_rows
    return BatchReport(len(user_ids), n_rows, dict(warnings.most_common()))


def share_of_users(user_ids: Sequence[str], number: int, n_shares: int) -> list[str]:
    """Choose the users that one of several processes scores.

    Args:
        user_ids: All users.
        number: Which share, from 1.
        n_shares: How many there are.

    Returns:
        Users of the share in the order given; who is in it follows from the id alone.
    """
    return [
        user
        for user in user_ids
        if xxhash.xxh3_64_intdigest(user.encode()) % n_shares == number - 1
    ]


def _table(lists: Sequence[tuple[str, RankedList]]) -> pa.Table:
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for user_id, ranked in lists:
        n_items = len(ranked.item_ids)
        columns["user_id"] += [user_id] * n_items
        columns["rank"] += range(1, n_items + 1)
        columns["item_id"] += ranked.item_ids
        columns["score"] += ranked.scores
        columns["model_version"] += [ranked.model_version] * n_items
    return pa.table(columns, schema=SCHEMA)
