"""The engine's loops are compiled before anybody looks at the watch.

After an installation the first use of a loop compiles it, which takes as long as a plugin may take
for a whole part of its contract: a good plugin would be out of time for what is not its doing.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.evaluation.skew import compare_executions
from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.features.plan import Offer, make_plan
from recsys.features.vocabulary import Feature
from recsys.testing.subject import Subject


def compile_loops(subject: Subject) -> None:
    """Read what a plugin reads, in both executions, without any code of the plugin.

    Args:
        subject: The plugin on a short log.
    """
    columns = tuple(Feature(name=f"read {a.name}", expr=pl.col(a.name)) for a in subject.aggregates)
    offer = Offer("the engine", subject.aggregates, columns)
    plan = make_plan(subject.plan.profile, [offer])
    compare_executions(
        subject.source, subject.dataset, plan, np.random.default_rng(0), n_requests=2
    )
    OnlineState(encode_log(subject.source), subject.aggregates)
