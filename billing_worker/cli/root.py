"""The root of the command line: where every foreseen failure becomes a sentence and an exit code.

With --json the sentence is a JSON object on stderr, so that a script never has to read prose. What nobody foresaw is
left to show its traceback.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure

_JSON_WANTED = "billing_worker.json"


class CommandLine(TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether JSON is wanted before anything can go wrong with the other arguments."""
        ctx.meta[_JSON_WANTED] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and tell of its failure, if it fails as foreseen."""
        as_json = ctx.meta[_JSON_WANTED]
        try:
            return super().invoke(ctx)
        except Failure as failure:
            output.tell(failure, as_json=as_json)
            raise typer.Exit(failure.code) from None
        except (typer.Abort, KeyboardInterrupt):
            raise typer.Exit(Exit.INTERRUPTED) from None
        except typer.TyperException as error:
            # Without --json typer prints the usage itself.
            if not as_json:
                raise
            output.tell(Failure(Exit.REFUSED, "usage", error.format_message()), as_json=True)
            raise typer.Exit(Exit.REFUSED) from None
