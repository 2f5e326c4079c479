"""Several trainings are measured on the same requests, and their luck is in the interval."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.report import Evaluation
from recsys.evaluation.retrained import evaluate_retrained
from recsys.events.pieces import StoredLog
from recsys.workspace import Workspace

N_TRAININGS = 3


@pytest.fixture(scope="module")
def retrained(plain_workspace: Workspace) -> Evaluation:
    log = StoredLog(plain_workspace.log_config, n_events=500)
    return evaluate_retrained(plain_workspace, log, N_TRAININGS, ["popularity"])


def test_all_numbers_are_means_over_trainings(retrained: Evaluation) -> None:
    assert retrained.protocol == "retrained"
    assert len(retrained.trainings) == N_TRAININGS
    for name, metrics in retrained.rankings.items():
        for metric, mean in metrics.items():
            each = [one[name][metric] for one in retrained.trainings]
            assert mean == pytest.approx(np.mean(each))
    popularity = retrained.differences_to["popularity"]["full"]["auc"].mean
    expected = retrained.rankings["full"]["auc"] - retrained.rankings["popularity"]["auc"]
    assert popularity == pytest.approx(expected)


def test_seeds_differ_and_requests_do_not(retrained: Evaluation) -> None:
    assert len({one["full"]["auc"] for one in retrained.trainings}) > 1
    assert len({one["click_rate"]["auc"] for one in retrained.trainings}) == 1
    assert len({one["random"]["auc"] for one in retrained.trainings}) == 1


def test_nothing_is_left_behind(retrained: Evaluation, plain_workspace: Workspace) -> None:
    del retrained
    assert not list(plain_workspace.folder.glob(".retrained-*"))
