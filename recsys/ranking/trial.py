"""Parses ranker files in a process that may die of it.

LightGBM's parser does not survive every file that is no model: it ends the process. Hashes tell
that a file is what was published, not that what was published can be read.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys.errors import BundleError

_CODE: Final = """
import sys, lightgbm
for path in sys.argv[1:]:
    lightgbm.Booster(model_file=path).num_trees()
"""
_LONGEST_S: Final = 120.0


def check_parses(paths: Sequence[Path]) -> None:
    """Try files; costs about a second.

    Args:
        paths: Rankers in LightGBM's text form.

    Raises:
        BundleError: The process that parsed them died, failed or did not end.
    """
    command = [sys.executable, "-I", "-c", _CODE, *map(str, paths)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            paths[0].parent, "a ranker that is parsed for ever", "a ranker"
        ) from error
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else "an error"
        found = f"a ranker that ends the process which parses it ({how})"
        raise BundleError(paths[0].parent, found, "a ranker in LightGBM's text")
