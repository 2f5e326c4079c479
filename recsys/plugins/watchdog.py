"""Runs a plugin's own code within a time budget, so that one that hangs becomes a clear error.

The code runs in a thread of its own, and the caller waits for it. A signal would only work in the
main thread, and a server opens bundles in others; a process of its own would keep a plugin from
returning objects. A thread that is out of time gets an exception at its next line of Python, which
ends loops. One that is stuck in a foreign call cannot be ended: it stays behind as a daemon thread,
which does not keep the process from ending.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from recsys.errors import PluginError, told

_T = TypeVar("_T")

#: How the cause begins of code that did not end in time.
OUT_OF_TIME: Final = "took longer than"


class _OutOfTimeError(BaseException):
    """Thrown into a thread that is out of time; no `except Exception` of a plugin catches it."""


class _Work(threading.Thread, Generic[_T]):
    """One piece of work with its outcome."""

    def __init__(self, name: str, work: Callable[[], _T]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self.result: list[_T] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        # Everything: a plugin that calls sys.exit has failed too, and must not end the caller.
        try:
            self.result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - see above
            self.failure = error

    def where(self) -> str:
        """Look where the thread is now.

        Returns:
            File and line.
        """
        frame = sys._current_frames().get(self.ident or 0)
        return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}" if frame else "?"

    def interrupt(self) -> None:
        """Raise in the thread as soon as it runs Python again."""
        if self.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.ident), ctypes.py_object(_OutOfTimeError)
            )


def run_within(budget_s: float, plugin: str, hook: str, work: Callable[[], _T]) -> _T:
    """Run code of a plugin.

    Args:
        budget_s: Seconds it may take.
        plugin: Whose code it is.
        hook: Which part of it.
        work: The code.

    Returns:
        What it returns.

    Raises:
        PluginError: It took longer, or raised; names plugin, hook and cause.
    """
    thread = _Work(f"plugin {plugin}", work)
    thread.start()
    thread.join(budget_s)
    if thread.is_alive():
        where = thread.where()
        thread.interrupt()
        cause = f"{OUT_OF_TIME} {budget_s:g} s; it was at {where}"
        raise PluginError(plugin, hook, cause)
    failure = thread.failure
    if isinstance(failure, PluginError):
        raise failure
    if failure is not None:
        raise PluginError(plugin, hook, told(failure)) from failure
    return thread.result[0]
