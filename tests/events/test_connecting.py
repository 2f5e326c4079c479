"""Connections to the log draw nothing, are locked, and can be had twice in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recsys.config import LogConfig
from recsys.events.connecting import smaller_limit
from recsys.events.warehouse import open_warehouse

SETTINGS = "SELECT current_setting('enable_progress_bar'), current_setting('lock_configuration')"
#: Without a file of its own a process is interactive, as DuckDB sees it.
CODE = """
from recsys.config import LogConfig
from recsys.events.warehouse import open_warehouse
with open_warehouse(LogConfig(path={path!r}), read_only=True) as log:
    print(log.query({sql!r}).row(0))
"""


def test_no_progress_bar_is_drawn_even_where_duckdb_would(tmp_path) -> None:
    path = str(tmp_path / "log.duckdb")
    open_warehouse(LogConfig(path=path)).__exit__(None, None, None)
    code = CODE.format(path=path, sql=SETTINGS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(False, True)"


def test_two_threads_of_a_process_may_read_at_once(tmp_path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"))
    open_warehouse(config).__exit__(None, None, None)
    with open_warehouse(config, read_only=True) as one:
        with open_warehouse(config, read_only=True) as two:
            assert two.query(SETTINGS).row(0)[1]
        assert one.query(SETTINGS).row(0)[1]


def test_whoever_reads_once_takes_less_memory_and_stands_in_nobodys_way(tmp_path) -> None:
    config = LogConfig(path=str(tmp_path / "log.duckdb"), memory_limit="1GiB")
    open_warehouse(config).__exit__(None, None, None)
    limit = "SELECT current_setting('memory_limit')"
    with open_warehouse(config, read_only=True) as usual:
        assert usual.query(limit).item() == "1.0 GiB"
    with open_warehouse(config, read_only=True, most_memory="64MiB") as reader:
        assert reader.query(limit).item() == "64.0 MiB"
        with open_warehouse(config, read_only=True) as beside:
            assert beside.query(SETTINGS).row(0)[1]


@pytest.mark.parametrize(
    ("configured", "found"),
    [
        ("2GB", "256MiB"),
        ("1.5 tib", "256MiB"),
        ("256MB", "256MB"),
        ("64mib", "64mib"),
        ("80%", "80%"),
        ("1.2.3GB", "1.2.3GB"),
    ],
)
def test_the_smaller_of_two_limits(configured, found) -> None:
    assert smaller_limit(configured, "256MiB") == found
    assert smaller_limit(configured, "") == configured
