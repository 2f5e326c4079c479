"""Plugins that are wrong, one for each way of being wrong, and what must be said of each."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = """
import time
import polars as pl
from recsys.features.vocabulary import Feature, count
from recsys.hookspecs import hookimpl

@hookimpl
def recsys_aggregates():
    return [count("bad_actions", "*", by="item")]
"""
FEATURE = """
@hookimpl
def recsys_features():
    return [Feature(name="fine", expr=pl.col("bad_actions")), Feature(name="bad", expr={})]
"""


@dataclass
class Bad:
    """A plugin's text, and a pattern for the one line that is said of it."""

    text: str
    said: str


def feature(expr: str) -> str:
    return HEAD + FEATURE.format(expr)


#: Known without looking at any data.
AT_LOAD = {
    "raises when imported": Bad(HEAD + "\n1 / 0", "load: ZeroDivisionError: division by zero"),
    "exits when imported": Bad(HEAD + "\nraise SystemExit(3)", "load: SystemExit: 3"),
    "imports something missing": Bad(
        "import pricing_service", "load: ModuleNotFoundError: No module named 'pricing_service'"
    ),
    "hangs when imported": Bad(
        HEAD + "\nwhile True:\n    time.sleep(0.01)",
        r"load: took longer than 2 s; it was at bad.py, line \d+",
    ),
    "hangs in a hook": Bad(
        feature("pl.col('bad_actions')").replace(
            "    return [Feature", "    while True: time.sleep(0.01)\n    return [Feature"
        ),
        r"recsys_features: took longer than 2 s; it was at bad.py, line \d+",
    ),
    "raises in a hook": Bad(
        feature("pl.col('bad_actions')").replace(
            "    return [Feature", "    raise RuntimeError('no\\n prices')\n    return [Feature"
        ),
        "recsys_features: RuntimeError: no$",
    ),
    "hangs in an expression": Bad(
        HEAD
        + "def wait(values):\n    while True: time.sleep(0.01)\n"
        + FEATURE.format("pl.col('bad_actions').map_batches(wait, return_dtype=pl.Float64)"),
        "recsys_features: took longer than 2 s; it was at bad.py, line",
    ),
    "too few rows": Bad(
        feature("pl.col('bad_actions').drop_nulls()"),
        "recsys_features: feature bad returns 4 rows for 5 candidates; expected one per",
    ),
    "one row": Bad(
        feature("pl.col('bad_actions').max()"),
        "recsys_features: feature bad is one value for the whole list; expected one per cand",
    ),
    "text": Bad(
        feature("pl.col('bad_actions').cast(pl.String)"),
        "recsys_features: feature bad is of type String; expected a number or boolean",
    ),
    "an expression that does not fit its column": Bad(
        feature("pl.col('bad_actions').str.to_lowercase()"),
        "recsys_features: feature bad cannot be evaluated: ",
    ),
    "NaN for everybody": Bad(
        feature("pl.col('bad_actions') * float('nan')"),
        "recsys_features: feature bad is NaN or infinite for every candidate; expected numbers",
    ),
    "a rank that is not declared list-wise": Bad(
        feature("pl.col('bad_actions').rank()"),
        "recsys_features: feature bad depends on the other candidates .*expected listwise=True",
    ),
    "a share of the list": Bad(
        feature("pl.col('bad_actions') / pl.col('bad_actions').max()"),
        "recsys_features: feature bad depends on the other candidates .*expected listwise=True",
    ),
    "the length of the list": Bad(
        feature("pl.len()"),
        "recsys_features: feature bad depends on the other candidates .*expected listwise=True",
    ),
    "a name that is taken": Bad(
        feature("pl.col('bad_actions')").replace('"fine"', '"item_actions"'),
        "recsys_features: feature item_actions is offered by plugin popularity too",
    ),
    "no record of the contract": Bad(
        feature("pl.col('bad_actions')").replace('Feature(name="fine", expr', "dict(name"),
        "recsys_features: returned a .*; expected Feature with a name",
    ),
}
AT_LOAD["text that the log does not have"] = Bad(
    feature("pl.col('context.weather').str.len_chars()"),
    "recsys_features: feature bad cannot be evaluated: .*no event .* carries context.weather",
)
FILTER = """
from recsys.hookspecs import Filter

@hookimpl
def recsys_filters():
    return [Filter(name="choosy", keep={})]
"""
AT_LOAD["a filter that is no yes or no"] = Bad(
    HEAD + FILTER.format("pl.col('bad_actions') * 2"),
    "recsys_filters: filter choosy is of type Float64; expected a boolean",
)
AT_LOAD["a filter that reads what is not there"] = Bad(
    HEAD + FILTER.format("pl.col('sold_out')"),
    "recsys_filters: filter choosy cannot be evaluated: .*sold_out",
)
AT_LOAD["a source that fails to say what it reads"] = Bad(
    HEAD
    + """
class Source:
    name = "mine"
    def aggregates(self):
        raise LookupError("no such shop")
    def propose(self, view, n):
        return []

@hookimpl
def recsys_candidate_sources():
    return [Source()]
""",
    "aggregates of mine: LookupError: no such shop",
)
AT_LOAD["no record of the contract"].text = HEAD + (
    "@hookimpl\ndef recsys_features():\n    return [dict(name='bad')]\n"
)

UDF = "pl.col('bad_actions').map_batches({}, return_dtype=pl.Float64)"
#: Only seen when the features are computed on a log.
AT_CHECK = {
    "raises on real rows": Bad(
        HEAD
        + "def fails(values):\n    if len(values) not in (0, 5): raise KeyError('no price')\n"
        + "    return values\n"
        + FEATURE.format(UDF.format("fails")),
        "feature bad: KeyError: 'no price'",
    ),
    "wrong rows on real rows": Bad(
        HEAD
        + "def fewer(values):\n    return values if len(values) in (0, 5) else values.head(3)\n"
        + FEATURE.format(UDF.format("fewer")),
        "feature bad: returned shape ",
    ),
    "hangs on real rows": Bad(
        HEAD
        + "def waits(values):\n    while len(values) > 20: time.sleep(0.01)\n    return values\n"
        + FEATURE.format(UDF.format("waits")),
        "[a-z -]+: took longer than 2 s; it was at bad.py, line",
    ),
    "other values each time": Bad(
        HEAD
        + "import random\ndef rolls(values):\n    return values + random.random()\n"
        + FEATURE.format(UDF.format("rolls")),
        "missing data: bad differs",
    ),
    "looks at the other candidates of long lists": Bad(
        HEAD
        + "def centred(values):\n    return values - values.mean() if len(values) > 5 else values\n"
        + FEATURE.format(UDF.format("centred")),
        "isolation: bad ",
    ),
    "hangs on all real rows": Bad(
        HEAD
        + "def waits(values):\n    while len(values) not in (0, 1, 5): time.sleep(0.01)\n"
        + "    return values\n"
        + FEATURE.format(UDF.format("waits")),
        "columns: took longer than 2 s; it was at bad.py, line",
    ),
    "missing for everybody": Bad(
        feature("pl.when(pl.col('bad_actions') < 0).then(1.0)"),
        "coverage: bad is missing for all .* candidates that have all it reads",
    ),
}
