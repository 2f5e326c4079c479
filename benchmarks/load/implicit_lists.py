"""Lists of the library implicit for users who come back; run by its own Python.

    implicit_lists.py ACTIONS.parquet ASKED.json LISTS.json

`ACTIONS` has user and item of what was done before the cut. `ASKED` has, for each user who comes
back, what was done meanwhile, and whether lists may hold what the user acted on. Models are fitted
on what was before the cut; what users did meanwhile is in the row that they are asked with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, TFIDFRecommender
from implicit.recommender_base import RecommenderBase

N = 20


def main(actions: str, asked: str, out: str) -> None:
    table = pq.read_table(actions).to_pydict()
    question = json.loads(Path(asked).read_text(encoding="utf-8"))
    users, items = {}, {}
    rows = [users.setdefault(user, len(users)) for user in table["user_id"]]
    columns = [items.setdefault(item, len(items)) for item in table["item_id"]]
    ones = np.ones(len(rows), dtype=np.float32)
    counts = sp.csr_matrix((ones, (rows, columns)), shape=(len(users), len(items)))
    once = counts.copy()
    once.data[:] = 1.0
    models = {
        "implicit, item neighbours, BM25 of counts": (BM25Recommender(K=200), counts),
        "implicit, item neighbours, TF-IDF": (TFIDFRecommender(K=50), once),
        "implicit, ALS of 128 factors": (
            AlternatingLeastSquares(factors=128, alpha=10, random_state=0),
            once,
        ),
    }
    lists = {}
    for name, (model, known) in models.items():
        model.fit(known, show_progress=False)
        lists[name] = answers(model, known, question, (users, items))
    Path(out).write_text(json.dumps(lists), encoding="utf-8")


def answers(
    model: RecommenderBase,
    known: sp.csr_matrix,
    question: dict,
    numbers: tuple[dict[str, int], dict[str, int]],
) -> list[list[str]]:
    users, items = numbers
    names, past, found = list(items), known.tolil(), []
    is_als = hasattr(model, "item_factors")  # it can make a user's factors anew
    is_counted = known.max() > 1
    for step in question["steps"]:
        for user, item in step["events"]:
            if user in users and item in items:
                place = users[user], items[item]
                past[place] = past[place] + 1 if is_counted else 1
        row = sp.csr_matrix(past[users[step["user"]]], dtype=np.float32)
        more = {"recalculate_user": True} if is_als else {}
        ids, _ = model.recommend(
            0, row, N=N, filter_already_liked_items=not question["repeats"], **more
        )
        found.append([names[i] for i in ids.tolist() if i >= 0])
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
