"""The command for the field's data sets, on a made-up world in MIND's files."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent
from recsys.testing.worlds import START, topic_world

ROOT = Path(__file__).parents[2]
FIRST = datetime(2019, 11, 11, 8, tzinfo=UTC)


def _write_mind(folder: Path) -> tuple[Path, Path]:
    """Write lists of a world as train (the first ones) and dev (the others, on 15 November)."""
    events = [visible.event for visible in topic_world(n_users=30, n_lists=6).events]
    clicked = {(e.impression_id, e.item_id) for e in events if isinstance(e, InteractionEvent)}
    items = [event for event in events if isinstance(event, ItemEvent)]
    lists = [event for event in events if isinstance(event, ImpressionEvent)]
    parts = (lists[:140], lists[140:])
    folders = (folder / "MINDsmall_train", folder / "MINDsmall_dev")
    for part, target, days in zip(parts, folders, (0, 4), strict=True):
        target.mkdir()
        news = [
            f"N{event.item_id[4:]}\tnews\t{event.attributes['tags'][0]}\t"
            f"{event.attributes['title']}\t\thttps://a\t[]\t[]"
            for event in items
        ]
        (target / "news.tsv").write_text("\n".join(news))
        rows = []
        for number, event in enumerate(part, start=1):
            at = FIRST + timedelta(days=days, microseconds=event.occurred_at - START)
            time = at.strftime("%m/%d/%Y %I:%M:%S %p")
            shown = [f"N{i[4:]}-{int((event.impression_id, i) in clicked)}" for i in event.item_ids]
            rows.append(f"{number}\t{event.user_id}\t{time}\tN1 N2\t{' '.join(shown)}")
        (target / "behaviors.tsv").write_text("\n".join(rows))
    return folders


def test_mind_is_imported_trained_and_compared_in_one_command(tmp_path: Path) -> None:
    folders = _write_mind(tmp_path)
    found = subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks" / "datasets.py"), "mind", *map(str, folders)),
            *("--workspace", str(tmp_path / "w"), "--json"),
        ],
        env={
            "RECSYS_PLUGINS__DISABLED": '["text_interest"]',
            "RECSYS_RANKER__TREES": "20",
            "RECSYS_RANKER__THREADS": "1",
            "RECSYS_RANKER__MIN_ROWS_PER_LEAF": "5",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert (result["candidates"], result["n_requests"]) == ("shown", 40)
    assert result["ours"]["full"]["auc"] > 0.8
    bert = next(row for row in result["published"] if row["what"] == "NRMS + BERT-base")
    assert bert["auc"] == 0.689
