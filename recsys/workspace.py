"""A workspace: the folder in which one project has its log, plugins, runs and bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys.config import CONFIG_NAME, Config, LogConfig, load_config
from recsys.errors import WorkspaceError


@dataclass(frozen=True, slots=True)
class Workspace:
    """An opened workspace.

    Args:
        folder: Its folder.
        config: What its `recsys.toml` and the environment say.
    """

    folder: Path
    config: Config

    @property
    def bundles(self) -> Path:
        """Where bundles are published."""
        return self.folder / "bundles"

    @property
    def log_config(self) -> LogConfig:
        """The log's configuration, with its path made independent of the current folder."""
        return self.config.log.model_copy(update={"path": str(self.folder / self.config.log.path)})

    @property
    def reports(self) -> Path:
        """Where rejects and evaluation reports go."""
        return self.folder / "reports"

    @property
    def state(self) -> Path:
        """Where a server that stops leaves its online state."""
        return self.folder / "state"

    @property
    def columns(self) -> Path:
        """Where feature columns of past requests are kept."""
        return self.folder / "columns"

    @property
    def feature_log(self) -> Path:
        """Where servers keep a sample of what they served."""
        return self.folder / "feature_log"

    @property
    def runs(self) -> Path:
        """Where training runs leave their logs and checkpoints."""
        return self.folder / "runs"


def open_workspace(folder: Path) -> Workspace:
    """Open a folder that `recsys init` made.

    Returns:
        The workspace.

    Raises:
        WorkspaceError: There is no such folder, or no `recsys.toml` in it.
    """
    if not (folder / CONFIG_NAME).is_file():
        found = f"no {CONFIG_NAME}" if folder.is_dir() else "no such folder"
        raise WorkspaceError(folder, found, f"a folder with {CONFIG_NAME}; `recsys init` makes one")
    return Workspace(folder, load_config(folder))
