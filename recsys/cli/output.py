"""What commands print: tables and progress for people, JSON for machines, errors in one line."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from recsys.events.progress import Progress

#: Results go to standard output, everything about the way there to standard error.
# A pipe or file has no width of its own; tables then take what they need up to this.
_WIDTH = None if sys.stdout.isatty() else 140
_NUMBER = re.compile(r"[-+]?[\d,.]*(e[-+]\d+)?( \[|$)")
results = Console(soft_wrap=True, width=_WIDTH)
notes = Console(stderr=True, soft_wrap=True)
#: Where there is no terminal to draw bars on.
_LINE_EVERY_S = 15.0


def print_json(value: Any) -> None:  # noqa: ANN401 - anything that msgspec encodes
    """Print a value as indented JSON."""
    # Paths are the only values of reports that JSON does not know.
    data = msgspec.json.encode(value, order="sorted", enc_hook=str)
    text = msgspec.json.format(data, indent=2)
    sys.stdout.write(text.decode() + "\n")


def instant_text(instant_us: int) -> str:
    """Write an instant, in UTC to the second.

    Returns:
        Such as `2026-01-31 12:00:00`.
    """
    return datetime.fromtimestamp(instant_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        numeric = all(_NUMBER.match(row[position]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*row)
    results.print(table)


class _SpeedColumn(ProgressColumn):
    """How much is done per second."""

    def render(self, task: Task) -> Text:
        """Show it once it is known.

        Returns:
            For example `812/s`.
        """
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class ProgressBars:
    """One progress bar per label, made when the label first reports."""

    def __init__(self, progress: rich.progress.Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show how far something is."""
        task = self._tasks.get(label)
        if task is None:
            self._finish_others()
            task = self._tasks[label] = self._progress.add_task(label, total=total)
        elif done < self._progress.tasks[task].completed:
            self._progress.reset(task)  # it begins again, as windows of a training do
        self._progress.update(task, completed=done, total=total)

    def _finish_others(self) -> None:
        for task in self._progress.tasks:
            self._progress.update(task.id, completed=task.total or 1, total=task.total or 1)


class ProgressLines:
    """A line now and then, for a log file or a pipe: what is quickly done is not mentioned.

    Args:
        every_s: Seconds between lines at least.
        clock: Seconds, from whenever.
    """

    def __init__(
        self, every_s: float = _LINE_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s, self._clock = every_s, clock
        self._said_at = clock()
        self._label = ""
        self._began_at, self._done_before = self._said_at, 0
        self._done = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        """Say how far something is."""
        now = self._clock()
        # A label may begin again, as windows of a training do.
        if label != self._label or done < self._done:
            self._label, self._began_at, self._done_before = label, now, done
        self._done = done
        if now - self._said_at < self._every_s:
            return
        self._said_at = now
        text = f"{label}: {done:,} of {total:,}"
        if done > self._done_before and done < total:
            left_s = (now - self._began_at) * (total - done) / (done - self._done_before)
            text += f", {timedelta(seconds=round(left_s))} left"
        notes.print(text, highlight=False)


@contextmanager
def progress_lines() -> Iterator[Progress]:
    """Show progress on standard error while a block runs: bars on a terminal, lines elsewhere.

    Yields:
        What reports progress.
    """
    if not notes.is_terminal:
        yield ProgressLines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=notes) as progress:
        yield ProgressBars(progress)
