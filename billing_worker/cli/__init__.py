"""The command line: one app, whose commands stand in the modules beside this one.

It imports nothing heavy, because --help and completion run it whole.
"""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from billing_worker.cli import (
    adopting,
    checking,
    comparing,
    ledger,
    operating,
    reconciling,
    refunding,
    scheduling,
    starting,
    subscriptions,
)
from billing_worker.cli import status as standing
from billing_worker.cli.root import CommandLine

__all__ = ["app"]

app = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    add_completion=False,
    # A pretty traceback shows local variables, and so secrets.
    pretty_exceptions_enable=False,
    help="Collects recurring payments through PortOne, each billing period at most once. See docs/cli.md.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(installed_version("billing-worker"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version  # its callback has spoken


app.command("run")(starting.run)
app.command("migrate")(starting.migrate)
app.command("check-config")(checking.check_config)
app.command("adopt")(adopting.adopt)
app.command("simulator")(starting.simulator)
app.command("demo")(starting.demo)
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(ledger.app, name="ledger")
app.add_typer(operating.attempt, name="attempt")
app.add_typer(operating.cycle, name="cycle")
app.command("exceptions")(operating.exceptions)
app.command("reconcile")(reconciling.reconcile)
app.command("compare")(comparing.compare)
app.command("differences")(comparing.differences)
app.command("refund")(refunding.refund)
app.add_typer(scheduling.app, name="schedules")
app.command("status")(standing.status)
app.command("halt")(operating.halt)
app.command("resume-sending")(operating.resume_sending)
