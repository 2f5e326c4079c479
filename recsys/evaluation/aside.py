"""A workspace beside another one, for protocols that train anew and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys.config import Config
from recsys.workspace import Workspace


@contextmanager
def aside(workspace: Workspace, what: str) -> Iterator[Workspace]:
    """Make a workspace that trains elsewhere with the same plugins.

    Args:
        workspace: It stays as it is.
        what: Goes into the name of the folder, which is hidden and beside its bundles.

    Yields:
        The workspace; it is gone afterwards.
    """
    with TemporaryDirectory(prefix=f".{what}-", dir=workspace.folder) as folder:
        plugins = workspace.config.plugins
        here = str((workspace.folder / plugins.folder).absolute())
        config = workspace.config.model_copy(
            update={"plugins": plugins.model_copy(update={"folder": here})}
        )
        yield Workspace(Path(folder), config)


def seeded(config: Config, training: int) -> Config:
    """Give each of several trainings a seed of its own.

    Args:
        config: Of the first one, which keeps its seed.
        training: Which one, from 0.

    Returns:
        The same configuration with another seed.
    """
    return config.model_copy(update={"seed": config.seed + training})
