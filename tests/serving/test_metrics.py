"""What scrapers and probes are told, by a real server; and what the dashboard asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.config import MetricsConfig, ServingConfig
from recsys.errors import ServerError
from recsys.schema import InteractionEvent
from recsys.serving.client import Client
from recsys.serving.metrics import Metrics
from recsys.serving.watching import observers_of

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "recsys.json"
ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "recsys.rules.yaml"
LOG, WRITERS = "RecsysLogCannotBeWritten", "RecsysWritersTurnedAway"
RANK = "/recsys.v1.RankingService/Rank"


def fetch(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples_of(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class ScoringEngine(FakeEngine):
    """Tells the observer what the real engine tells."""

    def rank(self, query, *arguments, **more):
        observer = more.get("observer") or arguments[-1]
        observer.stage("ranker", observer.now())
        observer.plugin_ran("text", observer.now())
        observer.scored(np.array([[1, np.nan], [2, 3]], np.float32), np.array([0.5, 3.0]))
        observer.degraded("deadline")
        observer.plugin_failed("text")
        return super().rank(query, *arguments, **more)


@pytest.fixture
def observers():
    return observers_of(ServingConfig(), port=0)


def port_of(observers):
    return observers[-1].port.address


def test_everything_that_a_server_does_is_counted(observers):
    address = port_of(observers)
    click = InteractionEvent("e1", 0, "u", "a", "click")
    with (
        running(ScoringEngine(), observers=observers) as (server, _),
        Client(server.address) as client,
    ):
        client.rank("u", ["a", "b"])
        with pytest.raises(grpc.RpcError):
            client.rank("u", [])
        client.write_events([click, click])
        client.activate("v2")
        found = samples_of(fetch(address, "/metrics")[1])
    assert found["recsys_requests_total", RANK, "OK"] == 1
    assert found["recsys_requests_total", RANK, "INVALID_ARGUMENT"] == 1
    assert found["recsys_request_seconds_count", RANK] == 2
    assert found["recsys_stage_seconds_count", "queue"] >= 2
    assert found["recsys_stage_seconds_count", "ranker"] == 2
    assert found["recsys_plugin_seconds_count", "text"] == 2
    assert found["recsys_plugin_failures_total", "text"] == 2
    assert found["recsys_degraded_total", "deadline"] == 2
    assert found["recsys_feature_values_total",] == 8
    assert found["recsys_feature_values_missing_total",] == 2
    assert found["recsys_scores_count", "best"] == 2
    assert found["recsys_events_total", "accepted"] == 1
    assert found["recsys_events_total", "duplicate"] == 1
    assert found["recsys_commit_events_sum",] == 1
    assert found["recsys_queued", "rank"] == 0
    assert found["recsys_model", "main", "v1"] == 0
    assert found["recsys_model", "main", "v2"] == 1


def test_probes_hear_when_the_server_takes_calls_and_when_it_drains(observers):
    address = port_of(observers)
    assert fetch(address, "/live") == (200, "live\n")
    assert fetch(address, "/ready")[0] == 503
    with running(observers=observers) as (server, _):
        assert fetch(address, "/ready") == (200, "ready\n")
        assert fetch(address, "/other")[0] == 404
        server._observer.ready(is_ready=False)
        assert fetch(address, "/ready")[0] == 503
    with pytest.raises(OSError, match="refused"):
        fetch(address, "/live")


def test_a_port_that_is_taken_is_named(observers):
    port = int(port_of(observers).rpartition(":")[2])
    config = ServingConfig(metrics=MetricsConfig(port=port))
    with pytest.raises(ServerError, match=r"serving\.metrics\.port"):
        observers_of(config, port=1)
    for one in observers:
        one.close()


def test_metrics_can_be_switched_off():
    config = ServingConfig(metrics=MetricsConfig(enabled=False))
    assert len(observers_of(config, port=0)) == 1


SHARED = """
import os, sys
from prometheus_client import CollectorRegistry
from recsys.serving.metrics import Metrics
metrics = Metrics(CollectorRegistry())
metrics.call_ended("/a", "OK", 0.1)
metrics.queued("rank", 1)
print(os.getpid())
"""


def test_several_processes_give_one_answer_and_the_dead_hold_no_queue(tmp_path):
    script = f"""
import os, subprocess, sys
from prometheus_client import generate_latest
from recsys.config import MetricsConfig
from recsys.serving.metrics_port import registry_of_all
from recsys.serving.shared_metrics import forget_process, published_metrics
with published_metrics(MetricsConfig(port=0), lambda: True):
    for n in range(2):
        done = subprocess.run([sys.executable, "-c", {SHARED!r}], check=True, capture_output=True)
        if n: forget_process(int(done.stdout))
    print(generate_latest(registry_of_all()).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    found = samples_of(done.stdout)
    assert found["recsys_requests_total", "/a", "OK"] == 2
    assert found["recsys_queued", "rank"] == 1


def names_of_metrics():
    registry = CollectorRegistry()
    Metrics(registry)
    return {sample_name for names in registry._collector_to_names.values() for sample_name in names}


def test_the_dashboard_asks_for_metrics_that_there_are_and_for_all_of_them():
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = {
        name
        for panel in board["panels"]
        for target in panel.get("targets", [])
        for name in re.findall(r"\brecsys_[a-z_]+", target["expr"])
    }
    assert asked <= names_of_metrics()
    families = {re.sub(r"_(total|sum|count|bucket|created)$", "", name) for name in asked}
    known = {re.sub(r"_(total|sum|count|bucket|created)$", "", name) for name in names_of_metrics()}
    assert families == known


def alerts():
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def test_alerts_ask_for_metrics_that_there_are_and_the_operators_page_has_all_of_them():
    for name, expression in alerts().items():
        asked = set(re.findall(r"\brecsys_[a-z_]+", expression))
        assert asked
        assert asked <= names_of_metrics(), name
    page = (ALERTS.parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(Recsys[A-Za-z]+)`", page)) == alerts().keys()


def counted(text, alert):
    """Sum what the one counter that an alert looks at has counted."""
    ((metric, label, operator, wanted),) = re.findall(
        r"(recsys_\w+){(\w+)(=~?)\"([^\"]*)\"}", alerts()[alert]
    )
    pattern = wanted if operator == "=~" else re.escape(wanted)
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric and re.fullmatch(pattern, sample.labels[label])
    )


@pytest.mark.parametrize("n_events", [1, 99], ids=["without a thread", "in a thread"])
def test_a_full_disk_and_too_many_writers_are_alerts_of_their_own(observers, n_events):
    address, writer = port_of(observers), FakeWriter()
    clicks = [InteractionEvent(f"e{n}", 0, "u", "a", "click") for n in range(n_events)]

    def fired():
        text = fetch(address, "/metrics")[1]
        return {name: counted(text, name) for name in (LOG, WRITERS)}

    with (
        running(writer=writer, observers=observers, max_streams=1) as (server, _),
        Client(server.address) as client,
        Client(server.address) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert fired() == {LOG: 0, WRITERS: 0}
        writer.is_full = True
        with pytest.raises(grpc.RpcError, match="No space left"):
            client.write_events(clicks)
        assert fired() == {LOG: 1, WRITERS: 0}
        writer.is_full = False
        writer.may_sync.clear()
        held = pool.submit(client.write_events, clicks)
        while not writer.appended:
            pass
        with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
            other.write_events(clicks)
        writer.may_sync.set()
        assert held.result().accepted == n_events
        assert fired() == {LOG: 1, WRITERS: 1}
