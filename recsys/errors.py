"""Every error that a caller can act on; the constructor takes values and writes the message."""

from __future__ import annotations

from pathlib import Path


def told(error: BaseException) -> str:
    """Tell an error of somebody else's code in one line.

    Returns:
        Its type and the first line of its text.
    """
    # A KeyError's text is the repr of its argument, in which a second line is no line any more.
    text = str(error.args[0]) if len(error.args) == 1 else str(error)
    return f"{type(error).__name__}: {next(iter(text.strip().splitlines()), 'no message')}"


class RecsysError(Exception):
    """Root of all errors raised on purpose by this project."""


class ConfigError(RecsysError):
    """The configuration has problems; all of them are listed, one a line."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        super().__init__(f"{source}: " + "; ".join(problems))


class WorkspaceError(RecsysError):
    """A folder that should be a workspace is not one, or lacks something that a command needs."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"workspace {path}: {found}; expected {expected}")


class EventError(RecsysError):
    """One event record is not acceptable."""

    def __init__(self, reason: str, *, field: str = "") -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}" if field else reason)


class ImportStoppedError(RecsysError):
    """A strict import met a bad record."""

    def __init__(self, source: Path, line: int, reason: str) -> None:
        super().__init__(f"{source}, line {line}: {reason}")


class LogError(RecsysError):
    """The behaviour log cannot be opened, read or written."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"log {path}: {found}; expected {expected}")


class SpoolDamagedError(RecsysError):
    """A complete line of a spool file does not carry what was written."""

    def __init__(self, path: Path, position: int, found: str) -> None:
        super().__init__(
            f"spool {path}, byte {position}: {found}; expected a record whose checksum matches"
        )


class PluginError(RecsysError):
    """A plugin failed to load, or broke its contract; names plugin, hook and cause in one line."""

    def __init__(self, plugin: str, hook: str, cause: str) -> None:
        self.plugin = plugin
        self.hook = hook
        self.cause = next(iter(cause.strip().splitlines()), "no message")
        super().__init__(f"plugin {plugin}, {hook}: {self.cause}")


class TrainingError(RecsysError):
    """A model cannot be trained on what the log holds."""

    def __init__(self, what: str, found: str, expected: str) -> None:
        super().__init__(f"{what}: {found}; expected {expected}")


class ProcessesError(TrainingError):
    """Several processes that should fit one model cannot work together."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__("several processes", found, expected)


class RankingError(RecsysError):
    """Rows cannot be scored or measured: they do not fit the ranker, or a score is not finite."""

    def __init__(self, what: str, found: str, expected: str) -> None:
        super().__init__(f"{what}: {found}; expected {expected}")


class EncoderError(RecsysError):
    """The pretrained text encoder is missing or is not the one that was expected."""

    def __init__(self, encoder: str, found: str, expected: str) -> None:
        super().__init__(f"encoder {encoder}: {found}; expected {expected}")


class BundleError(RecsysError):
    """A bundle is missing, damaged, newer than this code, or does not fit the workspace."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"bundle {path}: {found}; expected {expected}")


class CheckpointError(RecsysError):
    """A saved state is missing, damaged, or of something else; the log can be read instead."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"state {path}: {found}; expected {expected}")


class BatchError(RecsysError):
    """The file of a batch run cannot be written."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"batch {path}: {found}; expected {expected}")


class PageError(RecsysError):
    """A page cannot be written."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(f"page {path}: {found}; expected {expected}")


class RequestError(RecsysError):
    """A request breaks a rule; names every field at fault.

    Args:
        violations: (field, description) pairs, in the order of the message's fields.
    """

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{field}: {text}" for field, text in violations))


class OverloadError(RecsysError):
    """There is no room for a call now; a later one may find some."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what}: {limit} at work already; try again later")


class DeadlineError(RecsysError):
    """A call's deadline has passed, so its work was not begun or not waited for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the deadline has passed")


class UnknownModelError(RecsysError):
    """A version was asked for that no published bundle has."""

    def __init__(self, version: str, known: list[str]) -> None:
        named = ", ".join(known[-5:]) or "none is published"
        super().__init__(f"model {version!r}: no such version; expected one of: {named}")


class ServerError(RecsysError):
    """The server cannot listen where it was told to."""

    def __init__(self, address: str, found: str, expected: str) -> None:
        super().__init__(f"server {address}: {found}; expected {expected}")


class AuthenticationError(RecsysError):
    """A call came without a token, or with an unknown one; the caller hears nothing else."""

    def __init__(self) -> None:
        super().__init__("no valid token; expected metadata `authorization: Bearer TOKEN`")


class ScopeError(RecsysError):
    """A token does not allow what was asked."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token does not allow this; expected one with scope {scope}")
