"""The command line as tests call it, and settings that lead to a simulated PortOne."""

from collections.abc import Callable

from typer.testing import CliRunner, Result

from billing_worker.cli import app

SECRET = "simulator-secret-abcdef"
STORE = "store-test"

Cli = Callable[..., Result]


def command_line(**always: str) -> Cli:
    """The command line in an environment; a call may change variables of it and give the text of stdin."""

    def call(*arguments: str, stdin: str | None = None, **environ: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={**always, **environ}, input=stdin)

    return call


def portone_settings(url: str, **changed: str) -> dict[str, str]:
    """Settings that lead to the simulated PortOne."""
    return {
        "BILLING_PORTONE_BASE_URL": url,
        "BILLING_PORTONE_API_SECRET": SECRET,
        "BILLING_PORTONE_STORE_ID": STORE,
        "BILLING_PORTONE_LIVE": "false",
        **changed,
    }
