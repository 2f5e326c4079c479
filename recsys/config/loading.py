"""Reading `recsys.toml`: everything in it is typed, and what is wrong is named with its key."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from recsys.config.interest import InterestConfig
from recsys.config.learning import EvaluationConfig, LabelsConfig, RankerConfig, SplitConfig
from recsys.config.log import LogConfig, PluginsConfig
from recsys.config.section import Section
from recsys.config.serving import ServingConfig
from recsys.errors import ConfigError

CONFIG_NAME = "recsys.toml"
_PREFIX: Final = "RECSYS_"
_BETWEEN: Final = "__"

S = TypeVar("S", bound=Section)


class Config(BaseSettings):
    """Everything that can be configured; every key has a default."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter=_BETWEEN
    )

    seed: int = 17
    log: LogConfig = LogConfig()
    plugins: PluginsConfig = PluginsConfig()
    labels: LabelsConfig = LabelsConfig()
    split: SplitConfig = SplitConfig()
    interest: InterestConfig = InterestConfig()
    ranker: RankerConfig = RankerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    serving: ServingConfig = ServingConfig()
    settings: dict[str, dict[str, Any]] = Field(
        default={}, description="a table of its own for each plugin, by plugin name"
    )

    @classmethod
    def settings_customise_sources(  # noqa: PLR0917 - the signature is pydantic's
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose values arrive as init arguments.

        Returns:
            The sources, strongest first.
        """
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_config(folder: Path) -> Config:
    """Read `recsys.toml` of a workspace, with the environment on top.

    Args:
        folder: The workspace; a missing file means all defaults.

    Returns:
        The configuration.

    Raises:
        ConfigError: The file is not TOML, any key is unknown or has a bad value, or a variable is
            no JSON where a list or table is expected; lists all.
    """
    path = folder / CONFIG_NAME
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [str(error)]) from error
    try:
        return Config(**raw)
    except SettingsError as error:
        raise ConfigError("environment", _no_json() or [str(error)]) from error
    except ValidationError as error:
        problems = [_problem(e, Config) + _origin(e["loc"]) for e in error.errors()]
        raise ConfigError(str(path), problems) from error


def parse_settings(kind: type[S], settings: dict[str, Any]) -> S:
    """Read a plugin's own table `[settings.NAME]`, typed and closed as the rest of the file is.

    Args:
        kind: The table: its keys, their types and defaults.
        settings: As it stands in the file.

    Returns:
        The settings.

    Raises:
        ValueError: A key is unknown or has a bad value; lists all, on one line.
    """
    try:
        return kind(**settings)
    except ValidationError as error:
        problems = [_problem(detail, kind) for detail in error.errors()]
        raise ValueError("; ".join(problems)) from error


def _no_json() -> list[str]:
    """Find the variables of the environment that are no JSON where a table or list is expected.

    Returns:
        A line for each.
    """
    problems = []
    for name, value in sorted(os.environ.items()):
        keys = name.upper().removeprefix(_PREFIX).lower().split(_BETWEEN)
        if name.upper().startswith(_PREFIX) and _is_compound(keys):
            try:
                json.loads(value)
            except ValueError as error:
                hint = f"; a single key is {name}{_BETWEEN}KEY" if _known_keys(keys, Config) else ""
                problems.append(f"{name}: found {value!r}; expected JSON ({error}){hint}")
    return problems


def _is_compound(keys: list[str]) -> bool:
    """Say whether a path of keys leads to a table or a list.

    Returns:
        False for a text, number or switch, and where the path leads nowhere.
    """
    section = _section(keys[:-1], Config)
    field = section.model_fields.get(keys[-1]) if section is not None else None
    kind = None if field is None else field.annotation
    is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
    return is_section or get_origin(kind) in {dict, list, tuple, set, frozenset}


def _origin(location: Sequence[str | int]) -> str:
    """Say that a value is the environment's where it is.

    Returns:
        An addition to the line of its problem; empty where the file has it.
    """
    keys = [str(part) for part in location]
    for name, value in sorted(os.environ.items()):
        path = name.upper().removeprefix(_PREFIX).lower().split(_BETWEEN)
        if name.upper().startswith(_PREFIX) and path == keys[: len(path)]:
            found: Any = _json_or_none(value) if len(path) < len(keys) else {}
            for key in keys[len(path) :]:
                found = found.get(key) if isinstance(found, dict) else None
            if found is not None:
                return f" (from {name})"
    return ""


def _json_or_none(text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except ValueError:
        return None


def _problem(detail: ErrorDetails, root: type[BaseModel]) -> str:
    """Say one problem with its key, what was found and what was expected.

    Returns:
        A line such as `serving.prot: unknown key; did you mean serving.port?`.
    """
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] != "extra_forbidden":
        return f"{key}: found {detail['input']!r}; {detail['msg'].lower()}"
    return f"{key}: unknown key{did_you_mean(location, _known_keys(location[:-1], root))}"


def did_you_mean(location: Sequence[str], names: Sequence[str]) -> str:
    """Name the key that was probably meant.

    Args:
        location: The key that there is none of, with its parents.
        names: Those that could stand in its place.

    Returns:
        An addition to the line of its problem; empty where none is like it.
    """
    close = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
    return f"; did you mean {'.'.join([*location[:-1], close[0]])}?" if close else ""


def _known_keys(parents: list[str], root: type[BaseModel]) -> list[str]:
    """List the keys of the section that a path of parents leads to.

    Returns:
        Field names; empty where the path leads to no section.
    """
    section = _section(parents, root)
    return list(section.model_fields) if section is not None else []


def _section(parents: list[str], root: type[BaseModel]) -> type[BaseModel] | None:
    section = root
    for parent in parents:
        field = section.model_fields.get(parent)
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        section = annotation
    return section
