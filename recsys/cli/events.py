"""`recsys events`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.cli.workspace import JsonOption, WorkspaceOption, open_folder

if TYPE_CHECKING:
    from recsys.events.columns import TableOptions
    from recsys.events.importing import ImportReport
    from recsys.workspace import Workspace

_YEAR_1971_US: Final = 365 * 86_400_000_000
_WRONG_UNIT: Final = (
    "{share} of it is from 1970: were seconds or milliseconds written where microseconds are "
    "expected? Windows and sessions mean nothing then; remove the log and import again"
)
_CSV: Final = (
    "of a table the names of its columns must say which are users and items: user_id and item_id, "
    "or --column user_id=NAME --column item_id=NAME; --header where it has no header"
)
_STATS: Final = {
    "n_items": "items with a description",
    "n_users": "users",
    "first_at": "first event",
    "last_at": "last event",
    "spool_files": "files of the spool that wait for a merge",
    "spool_bytes": "their bytes",
    "items_unknown": "shown (or acted on) without a description",
    "interactions_linked": "interactions whose impression is in the log",
}

cli = typer.Typer(help="The behaviour log: import, merge, look.", no_args_is_help=True)


@cli.command("import")
def import_files(
    sources: Annotated[list[Path], typer.Argument(help="Files or folders of events.")],
    workspace: WorkspaceOption = Path(),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad record.")] = False,
    format_name: Annotated[
        str, typer.Option("--format", help="Of an importer; empty: each file is recognised.")
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=NAME", help="Of tables: user_id=NAME, occurred_at=NAME, ..."),
    ] = None,
    event_type: Annotated[
        str, typer.Option("--type", help="Of interactions in tables without a column for it.")
    ] = "",
    header: Annotated[
        str, typer.Option(help="Columns of tables without a header, with commas between them.")
    ] = "",
    item_field: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table of interactions that says something of the item."),
    ] = None,
    done: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE=NAME",
            help="Rows are items that were shown, and this column says whether it was done.",
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Column of a table that is not imported.")
    ] = None,
    time_format: Annotated[
        str, typer.Option(help="Of instants in tables, such as %d.%m.%Y; empty: RFC 3339.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Import JSON lines (ours or Metarank's), CSV and Parquet tables, and known data sets."""
    import msgspec

    from recsys.cli.item_fields import item_fields
    from recsys.cli.output import print_json
    from recsys.events.columns import TableOptions

    opened = open_folder(workspace)
    table = TableOptions(
        columns=_by_name("--column", column or []),
        done=_by_name("--done", done or []),
        type=event_type,
        header=[name.strip() for name in header.split(",")] if header else [],
        item_fields=item_field or [],
        left_out=leave_out or [],
        time_format=time_format,
    )
    report = import_with_progress(
        opened, sources, strict=strict, format_name=format_name, table=table
    )
    if as_json:
        fields = msgspec.to_builtins(item_fields(opened)) if report.kinds["items"].read else {}
        print_json({**msgspec.to_builtins(report, enc_hook=str), "item_fields": fields})
    else:
        print_import(report)
        print_fields(opened, report)
    if report.broken or (report.rejected and not report.n_read):
        raise typer.Exit(1)


def _by_name(option: str, said: list[str]) -> dict[str, str]:
    found = {}
    for one in said:
        name, equals, column = one.partition("=")
        if not (name and equals):
            what = "TYPE=NAME" if option == "--done" else "FIELD=NAME, or FIELD= for none"
            problem = f"found {one!r}; expected {what}"
            raise typer.BadParameter(problem, param_hint=option)
        found[name] = column
    return found


def import_with_progress(
    workspace: Workspace,
    sources: list[Path],
    *,
    strict: bool = False,
    format_name: str = "",
    table: TableOptions | None = None,
) -> ImportReport:
    """Import files while a progress bar runs.

    Returns:
        What the import found.
    """
    from recsys.cli.output import progress_lines
    from recsys.events.columns import TableOptions
    from recsys.events.formats import Formats
    from recsys.events.importing import import_events
    from recsys.plugins.registry import load_importers

    importers = load_importers(workspace.folder, workspace.config)
    formats = Formats(importers, format_name, table or TableOptions())
    with progress_lines() as progress:
        return import_events(
            workspace.log_config,
            sources,
            rejects=workspace.reports / "rejects.jsonl",
            formats=formats,
            strict=strict,
            progress=lambda done, total: progress("importing (bytes)", done, total),
        )


def print_fields(workspace: Workspace, report: ImportReport) -> None:
    """Print what fields the items of the log have, where an import brought any."""
    from recsys.cli.item_fields import item_fields, lines_of

    if report.kinds["items"].read:
        for line in lines_of(item_fields(workspace)):
            typer.echo(line)


def print_import(report: ImportReport) -> None:
    """Print what an import found."""
    from recsys.cli.output import print_table

    for path, taken in report.taken.items():
        typer.echo(f"{path.name}: {taken}")
    rows = [
        [kind, f"{found.read:,}", f"{found.new:,}", f"{found.known:,}"]
        for kind, found in report.kinds.items()
    ]
    print_table("Imported", ("table", "read", "new", "known already"), rows)
    if report.first_at is not None and report.last_at is not None:
        typer.echo(f"from {_shown_instant(report.first_at)} to {_shown_instant(report.last_at)}")
        if report.first_at < _YEAR_1971_US:
            share = "all" if report.last_at < _YEAR_1971_US else "a part"
            typer.echo(_WRONG_UNIT.format(share=share), err=True)
    for reason, n_records in report.left_out.most_common():
        typer.echo(f"left out {n_records:,}: {reason}")
    if report.passed_over:
        names = ", ".join(path.name for path in report.passed_over)
        typer.echo(f"passed over, of another format: {names}")
    _print_rejected(report)
    for path, reason in report.broken.items():
        typer.echo(f"broken off: {path}: {reason}")


def _print_rejected(report: ImportReport) -> None:
    for reason, n_records in report.rejected.most_common():
        typer.echo(f"rejected {n_records:,}: {reason} (first: {report.examples[reason]})")
    first = report.examples.get("is not JSON", "")
    if first.endswith(", line 1"):
        typer.echo(f"{first.removesuffix(', line 1')} does not begin with JSON; {_CSV}")
    if report.rejects:
        typer.echo(f"rejected records are in {report.rejects}; docs/log.md says what a record is")


@cli.command()
def merge(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Fold what servers have written to the spool into the tables."""
    from recsys.cli.output import print_json
    from recsys.events.merge import merge_spool

    report = merge_spool(open_folder(workspace).log_config)
    if as_json:
        print_json(report)
        return
    new = ", ".join(f"{n} {kind}" for kind, n in report.new.items() if n) or "nothing"
    typer.echo(f"read {report.read} events, new in the tables: {new}")
    typer.echo(f"spool files: {report.files_removed} removed, {report.files_kept} kept")


@cli.command()
def forget(
    user_ids: Annotated[
        list[str] | None, typer.Argument(help="Users; none: finish what a killed run left.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Erase users from the log and from what was made of it; servers forget within a second."""
    import msgspec

    from recsys.cli.output import print_json, print_table
    from recsys.pipeline.forgetting import forget_users

    receipt = forget_users(open_folder(workspace), user_ids or [])
    if as_json:
        print_json(receipt)
    else:
        rows = [
            [name.replace("_", " "), _shown(value)]
            for name, value in msgspec.to_builtins(receipt).items()
        ]
        print_table("Erased", ("what", "found"), rows)
    if receipt.waiting:
        typer.echo("a server has not let go of its spool file; run the command again", err=True)
        raise typer.Exit(1)


@cli.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Gets the copy; must not exist yet.")],
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Copy the log, tables and spool, while servers run."""
    from recsys.cli.output import print_json
    from recsys.events.backup import back_up_log

    n_bytes = back_up_log(open_folder(workspace).log_config, folder)
    if as_json:
        print_json({"folder": folder, "bytes": n_bytes})
    else:
        typer.echo(f"{n_bytes:,} bytes copied to {folder}")


@cli.command()
def stats(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """Count what the log holds."""
    import msgspec

    from recsys.cli.output import print_json, print_table
    from recsys.events.stats import log_stats

    found = log_stats(open_folder(workspace).log_config)
    if as_json:
        print_json(found)
        return
    values = msgspec.to_builtins(found)
    for name in ("first_at", "last_at"):
        values[name] = "-" if values[name] is None else _shown_instant(values[name])
    for name in ("items_unknown", "interactions_linked"):
        values[name] = "-" if values[name] is None else f"{values[name]:.1%}"
    rows = [
        [_STATS.get(key, key.replace("_", " ")), _shown(value)] for key, value in values.items()
    ]
    print_table("Log", ("what", "found"), rows)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shown_instant(instant_us: int) -> str:
    from recsys.cli.output import instant_text

    return f"{instant_text(instant_us)} UTC"
