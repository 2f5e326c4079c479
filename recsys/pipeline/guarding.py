"""Calls code that may not come back: in a thread of its own, for so long and no longer.

Expressions that polars evaluates by itself end; Python code of a plugin may wait for a network. A
call that is late is left to its thread, and its plugin is not asked again until that thread has
ended and a pause has passed, which doubles each time. So a plugin that hangs costs one thread, and
one request its budget.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from recsys.errors import PluginError

_T = TypeVar("_T")

#: How long a request waits for Python of a plugin that does not come with recsys.
PLUGIN_BUDGET_S: Final = 0.05
_OURS: Final = ("recsys.", "recsys_plugins.")
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 300.0


def is_ours(part: object) -> bool:
    """Say whether a part of a plugin, such as a model or a source, comes with recsys.

    Returns:
        False for code of others, which may not come back.
    """
    return type(part).__module__.startswith(_OURS)


@dataclass(slots=True)
class _Late:
    """A plugin that did not come back in time."""

    call: Future[Any]
    until: float
    pause_s: float


class Guard:
    """Bounds the time of calls by plugin.

    Args:
        read_s: Reads a monotonic clock, seconds.
    """

    def __init__(self, read_s: Callable[[], float] = time.monotonic) -> None:
        self._read_s = read_s
        self._late: dict[str, _Late] = {}

    def ask(self, part: object, name: str, function: Callable[[], _T]) -> _T:
        """Call a part of a plugin: at once where it is ours, else within the budget of a request.

        Args:
            part: Source, rule or whatever the function is of.
            name: Under which it is known here.
            function: As in `call`.

        Returns:
            What it returned.

        Raises:
            PluginError: As of `call`.
        """
        return function() if is_ours(part) else self.call(name, PLUGIN_BUDGET_S, function)

    def call(self, plugin: str, budget_s: float, function: Callable[[], _T]) -> _T:
        """Call a function.

        Args:
            plugin: Whose code it is.
            budget_s: How long to wait for it, seconds.
            function: Takes and shares nothing that may change once this call has returned.

        Returns:
            What it returned.

        Raises:
            PluginError: It was late, or is not asked because it was late before.
        """
        late = self._late.get(plugin)
        if late and not (late.call.done() and self._read_s() >= late.until):
            raise PluginError(plugin, "serving", "is not asked: it did not come back in time")
        future: Future[_T] = Future()
        thread = threading.Thread(
            target=_run, args=(future, function), name=f"plugin-{plugin}", daemon=True
        )
        thread.start()
        try:
            found = future.result(timeout=budget_s)
        except TimeoutError as error:
            pause_s = min(2 * late.pause_s, _LONGEST_PAUSE_S) if late else _FIRST_PAUSE_S
            self._late[plugin] = _Late(future, self._read_s() + pause_s, pause_s)
            cause = f"did not come back within {budget_s * 1000:.0f} ms"
            raise PluginError(plugin, "serving", cause) from error
        self._late.pop(plugin, None)
        return found

    def forget(self, wait_s: float = 1.0) -> None:
        """Forget who was late and has come back since.

        Args:
            wait_s: How long to wait for who has not yet, seconds.
        """
        wait([late.call for late in self._late.values()], timeout=wait_s)
        self._late = {name: late for name, late in self._late.items() if not late.call.done()}


def _run(future: Future[_T], function: Callable[[], _T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - belongs to the caller, not to this thread
        future.set_exception(error)
