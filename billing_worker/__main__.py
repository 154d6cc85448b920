"""The console script billing-worker, and python -m billing_worker."""

import io
import sys

from billing_worker.cli import app


def main() -> None:
    """Run the command line and end with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A Korean name on a terminal without UTF-8 is printed escaped, and is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="billing-worker")


if __name__ == "__main__":
    main()
