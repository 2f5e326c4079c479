"""A table of the configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the configuration file: typed, closed, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
