"""A bundle and the state that it reads: from what a server left on disk, or from the log."""

from __future__ import annotations

import structlog

from recsys.bundle.contents import Scorer, read_profile, read_scorer
from recsys.bundle.store import OpenBundle
from recsys.errors import CheckpointError
from recsys.events.pieces import StoredLog
from recsys.features.actions import encode_log
from recsys.pipeline.live import LiveState, live_state_of, restart_live_state
from recsys.pipeline.noting import LogNotes
from recsys.plugins.registry import load_capabilities
from recsys.workspace import Workspace

_log = structlog.get_logger("recsys.pipeline")


def open_bundle(workspace: Workspace, bundle: OpenBundle) -> tuple[Scorer, LiveState]:
    """Open a bundle on the state on disk and the log's tail, or where that fails on the log.

    Args:
        workspace: Where plugins, the state and the log are.
        bundle: Verified.

    Returns:
        The bundle as it scores, and the state.

    Raises:
        RecsysError: The bundle, a plugin or the log cannot be used.
    """
    try:
        return _open_on_state(workspace, bundle)
    except CheckpointError as error:
        reason = str(error) if workspace.state.exists() else "none was saved yet"
        _log.info("state_made_from_log", reason=reason)
        return open_on_log(workspace, bundle)


def open_on_log(workspace: Workspace, bundle: OpenBundle) -> tuple[Scorer, LiveState]:
    """Open a bundle on a state that is made of the whole log.

    Args:
        workspace: Where plugins and the log are.
        bundle: Verified.

    Returns:
        The bundle as it scores, and the state.

    Raises:
        RecsysError: The bundle, a plugin or the log cannot be used.
    """
    notes = LogNotes()
    types = tuple(read_profile(bundle).event_types)
    log = encode_log(StoredLog(workspace.log_config), types, [notes])
    scorer = read_scorer(bundle, workspace, log.items)
    return scorer, live_state_of(log, notes, scorer.capabilities.plan.aggregates)


def _open_on_state(workspace: Workspace, bundle: OpenBundle) -> tuple[Scorer, LiveState]:
    """Open a bundle on the state that a server left on disk, and the log's tail.

    Returns:
        The bundle as it scores, and the state.

    Raises:
        CheckpointError: There is no such state, or it does not fit bundle and log.
    """
    profile = read_profile(bundle)
    capabilities = load_capabilities(workspace.folder, workspace.config, profile)
    aggregates = capabilities.plan.aggregates
    live = restart_live_state(workspace.log_config, aggregates, workspace.state)
    scorer = read_scorer(bundle, workspace, live.state.items, capabilities)
    if not live.serves(scorer):
        raise CheckpointError(workspace.state, "other event types", "those of the bundle")
    return scorer, live
