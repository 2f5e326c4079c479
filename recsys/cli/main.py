"""The command `recsys`: a thin skin over the packages; nothing heavy is imported for `--help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from recsys import __version__
from recsys.cli import (
    batch,
    bundles,
    demo,
    evaluate,
    events,
    features,
    plugins,
    ranking,
    report,
    serve,
)
from recsys.cli import train as training
from recsys.cli import tune as tuning
from recsys.cli import workspace as workspaces
from recsys.errors import RecsysError

# Before any library with an OpenMP pool is loaded: threads that wait must sleep, not spin. On cores
# that other processes use too, spinning made short parallel sections tens of times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

cli = typer.Typer(
    help="Behaviour logs in, ranked lists out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(events.cli, name="events")
cli.add_typer(bundles.cli, name="models")
cli.add_typer(plugins.cli, name="plugins")
cli.add_typer(features.cli, name="features")
cli.add_typer(batch.cli, name="batch")
cli.command("init")(workspaces.init)
cli.command("train")(training.train)
cli.command("tune")(tuning.tune)
cli.command("evaluate")(evaluate.evaluate)
cli.command("report")(report.report)
cli.command("serve")(serve.serve)
cli.command("rank")(ranking.rank)
cli.command("recommend")(ranking.recommend)
cli.command("demo")(demo.demo)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"recsys {__version__}")
        raise typer.Exit


@cli.callback()
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version.",
    ),
) -> None:
    import structlog

    del version
    # Results have standard output for themselves: what `--json` prints must stay JSON.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def app(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error made on purpose is one line and exit status 1."""
    try:
        cli(args=arguments)
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
