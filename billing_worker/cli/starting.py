"""The commands that start something: the worker, the schema's migration, a simulated PortOne, the demo."""
# Commands import what they need when they run: --help must not wait for a database driver or a web server.
# ruff: noqa: PLC0415

import asyncio
import os
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Detail, Exit, Failure
from billing_worker.cli.options import AsJson, Pg

# What needs no quotes as a name in SQL.
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_NAME_BYTES_MAX = 63

# It protects nothing: whoever reaches the simulator may also ask its control address.
PRACTICE_SECRET = "simulator-secret"  # noqa: S105


class RevokedSchedulesBlock(StrEnum):
    """What a revoked schedule still keeps its paymentId from, at the simulator."""

    NOTHING = "nothing"
    BOOKINGS = "bookings"
    EVERYTHING = "everything"


class WebhookVersion(StrEnum):
    """PortOne's versions of webhooks, at the simulator."""

    NEWER = "2024-04-25"
    OLDER = "2024-01-01"


def run(as_json: AsJson = False) -> None:
    """Run the worker until SIGTERM. A second SIGTERM leaves at once; nothing is lost by it."""
    del as_json  # the root has read it; the log has a setting of its own
    from billing_worker import daemon
    from billing_worker.cli.database import gone, refused, settings
    from billing_worker.store.db import DatabaseGoneError, RowRefusedError
    from billing_worker.workers.fitness import StartUpRefusedError

    given = settings()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(daemon.run(given, os.environ))
    except StartUpRefusedError as error:
        reasons = tuple(Detail("database", reason) for reason in str(error).splitlines())
        raise Failure(Exit.REFUSED, "unfit", "this worker must not bill from here", details=reasons) from None
    except DatabaseGoneError as error:
        raise gone(error, begun=False) from None
    except RowRefusedError as error:
        raise refused(error) from None
    raise typer.Exit(code)


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only say what is pending.")] = False,
    print_roles: Annotated[bool, typer.Option("--print-roles", help="Print the SQL of the roles, for a DBA.")] = False,
    login: Annotated[str | None, typer.Option(metavar="NAME", help="The user who will run migrate.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to date. Needs BILLING_DATABASE_URL only."""
    if print_roles:
        _print_roles(login, as_json=as_json)
        return
    if login is not None:
        raise typer.BadParameter("goes with --print-roles only", param_hint="--login")
    names = _migrate(check=check)
    if as_json:
        output.document({"pending" if check else "applied": names})
    else:
        for name in names:
            output.say(f"{'pending' if check else 'applied'}: {name}")
        if not names:
            output.say("the schema is up to date")
    if check and names:
        raise typer.Exit(Exit.FOUND)


def simulator(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; keep it on this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")] = 8000,
    api_secret: Annotated[str, typer.Option(help="The secret that callers must have.")] = PRACTICE_SECRET,
    store_id: Annotated[str, typer.Option(help="The only store.")] = "store-simulator",
    channel_key: Annotated[
        list[str] | None, typer.Option(help="A channel key that is taken; repeat it; any is taken if left out.")
    ] = None,
    pg: Annotated[Pg, typer.Option(help="The PG that it plays.")] = Pg.KPN,
    latency_ms: Annotated[float, typer.Option(min=0, max=600_000, help="How long each answer takes.")] = 0.0,
    revoked_schedules_block: Annotated[
        RevokedSchedulesBlock, typer.Option(help="What a revoked schedule keeps its paymentId from.")
    ] = RevokedSchedulesBlock.NOTHING,
    webhook_url: Annotated[list[str] | None, typer.Option(help="Where webhooks go; repeat it.")] = None,
    webhook_secret: Annotated[list[str] | None, typer.Option(help="What signs them (whsec_…); one or two.")] = None,
    webhook_version: Annotated[WebhookVersion, typer.Option(help="What they say.")] = WebhookVersion.NEWER,
    webhook_form: Annotated[bool, typer.Option("--webhook-form", help="2024-01-01 as a form, not JSON.")] = False,
    webhook_minute_seconds: Annotated[float, typer.Option(min=0, help="The unit of waits between sends.")] = 60.0,
    webhook_loss: Annotated[float, typer.Option(min=0, max=1, help="The share never sent.")] = 0.0,
    webhook_duplication: Annotated[float, typer.Option(min=0, max=1, help="The share sent twice.")] = 0.0,
    webhook_delay: Annotated[float, typer.Option(min=0, max=1, help="The share sent late, out of order.")] = 0.0,
    webhook_forgery: Annotated[float, typer.Option(min=0, max=1, help="The share with a forged one beside.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Serve a simulated PortOne to practise on, until interrupted. It forgets everything when it ends."""
    from billing_worker.simulator import server
    from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET, SimulatorOptions

    try:
        options = SimulatorOptions(
            api_secret=api_secret,
            store_id=store_id,
            channel_keys=tuple(channel_key or ()),
            pg=pg.value,
            latency_ms=latency_ms,
            revoked_schedules_block=revoked_schedules_block.value,
            webhook_urls=tuple(webhook_url or ()),
            webhook_secrets=tuple(webhook_secret or (PRACTICE_WEBHOOK_SECRET,)),
            webhook_version=webhook_version.value,
            webhook_as_form=webhook_form,
            webhook_minute_seconds=webhook_minute_seconds,
            webhook_loss=webhook_loss,
            webhook_duplication=webhook_duplication,
            webhook_delay=webhook_delay,
            webhook_forgery=webhook_forgery,
        )
    except ValueError as error:
        raise Failure(Exit.REFUSED, "usage", str(error)) from None
    try:
        server.run(options, host, port, ready=lambda url: _say_ready(url, options, as_json=as_json))
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        raise Failure(Exit.REFUSED, "usage", message, remedy="choose another --port, or 0") from None


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, to look around.")] = False,
    subscriptions: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to import.")] = 1_000,
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many workers share them.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Show a whole billing run against a simulated PortOne, with a database of its own. Needs no settings."""
    from billing_worker.demo.main import run_demo

    raise typer.Exit(run_demo(json_output=as_json, keep=keep, subscriptions=subscriptions, workers=workers))


def loop_factory() -> Callable[[], Any] | None:
    """uvloop's loop where it is installed; else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _migrate(*, check: bool) -> list[str]:
    from billing_worker.cli.database import database_url, gone, refused
    from billing_worker.store import db, migrate

    url = database_url()
    work = migrate.pending_migrations if check else migrate.apply_migrations
    try:
        with db.translating():
            return asyncio.run(work(url))
    except migrate.MigrationError as error:
        raise Failure(Exit.REFUSED, "migration", str(error)) from None
    except db.DatabaseGoneError as error:
        raise gone(error, begun=not check) from None
    except db.RowRefusedError as error:
        raise refused(error) from None


def _print_roles(login: str | None, *, as_json: bool) -> None:
    from billing_worker.store import migrate

    sql = migrate.roles_sql() if login is None else migrate.roles_sql(_sql_name(login))
    if as_json:
        output.document({"sql": sql})
    else:
        output.say(sql)


def _sql_name(name: str) -> str:
    if not name.isprintable() or not 0 < len(name.encode()) <= _NAME_BYTES_MAX:
        raise typer.BadParameter(f"must be 1 to {_NAME_BYTES_MAX} bytes", param_hint="--login")
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _say_ready(url: str, options: Any, *, as_json: bool) -> None:
    if as_json:
        output.line({"url": url, "store_id": options.store_id, "pg": options.pg})
        return
    output.say(f"A simulated PortOne serves {url}. A worker of it has these settings:")
    output.say(f"  BILLING_PORTONE_BASE_URL={url}")
    output.say(f"  BILLING_PORTONE_API_SECRET={options.api_secret}")
    output.say(f"  BILLING_PORTONE_STORE_ID={options.store_id}")
    output.say("  BILLING_PORTONE_LIVE=false")
    output.say(f"The truth: {url}/_control/truth  Ends with Ctrl-C.")
