"""What the engine tells of a request while it answers it: plain calls that do nothing by default.

A caller that wants to know (the server, a profile) passes an observer with its request. The engine
knows nothing of metrics, traces or logs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray


class RequestObserver:
    """Hears how a request is answered, in the thread that answers it; this one is deaf.

    An observer must not raise, and must be cheap: it is called for every request.
    """

    def now(self) -> float:
        """Start the watch.

        Returns:
            An instant for `stage`, in seconds; 0 when nobody measures.
        """
        return 0.0

    def stage(self, name: str, since: float) -> float:
        """Hear that a stage has ended.

        Args:
            name: Of a fixed set, such as `features`; never data of a caller.
            since: What `now`, or the stage before, returned.

        Returns:
            The instant at which the next stage begins.
        """
        del name
        return since

    def plugin_ran(self, plugin: str, since: float) -> float:
        """Hear that a plugin's own code has ended.

        Args:
            plugin: Its name.
            since: What `now`, or the plugin before, returned.

        Returns:
            The instant at which the next plugin begins.
        """
        del plugin
        return since

    def plugin_failed(self, plugin: str) -> None:
        """Hear that a plugin (or its model, source or filter) failed and was left out.

        Args:
            plugin: Its name.
        """

    def scored(self, matrix: NDArray[np.float32], scores: NDArray[np.float64]) -> None:
        """Hear of the scores of one request; must not write to the arrays.

        Args:
            matrix: (n_candidates, n_features); NaN: missing.
            scores: (n_candidates,).
        """

    def degraded(self, reason: str) -> None:
        """Hear that a request was answered by less than the whole ranker.

        Args:
            reason: Of a fixed set, such as `feature_models`; never data of a caller.
        """


SILENT: Final = RequestObserver()
