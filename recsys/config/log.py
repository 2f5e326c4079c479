"""Tables `[log]` and `[plugins]`: what a workspace is made of."""

from __future__ import annotations

from pydantic import Field

from recsys.config.section import Section


class LogConfig(Section):
    """Where the behaviour log lives, relative to the workspace."""

    path: str = "log.duckdb"
    memory_limit: str = "2GB"
    threads: int = Field(default=2, ge=1)


class PluginsConfig(Section):
    """Which plugins load, and what they are told."""

    folder: str = "plugins"
    disabled: tuple[str, ...] = ()
    budget_s: float = Field(
        default=30.0, gt=0, description="how long an import or one call of a hook may take"
    )
