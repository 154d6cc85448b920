"""Scratch copies of the tree: made, broken, and looked over for slips of the patch, which any test would trip over."""

import ast
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.teeth import bugs, commands
from tests.teeth.bugs import Bug

ROOT = Path(__file__).resolve().parents[2]

# What a checkout has beside its own files; some of it is large.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", ".import_linter_cache", "__pycache__", "build", "dist", "evidence"
)

PREPARE_SECONDS = 60.0


class UnsoundCopyError(Exception):
    """The broken copy does not even load, so whatever goes red in it shows nothing."""


@contextmanager
def a_copy(bug: Bug | None = None, *, server: str) -> Iterator[Path]:
    """A copy of the tree with the bug in it, gone afterwards; server is a superuser's DSN, which judges its SQL.

    Raises StaleEditError and UnsoundCopyError.
    """
    with tempfile.TemporaryDirectory(prefix="teeth-") as name:
        root = Path(name) / "tree"
        shutil.copytree(ROOT, root, ignore=_LEFT_OUT)
        if bug is not None:
            changed = bugs.broken_files(bug, root)
            for path, text in changed.items():
                path.write_text(text, encoding="utf-8")
            look_over([path for path in changed if path.suffix == ".py"])
            if bug.touches_sql:
                _prepare(root, server)
        yield root


def look_over(sources: list[Path]) -> None:
    """Refuse what is no Python, or names what is not there. Raises UnsoundCopyError."""
    for path in sources:
        try:
            ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise UnsoundCopyError(f"{path.name}: {error}") from None
    if not sources:
        return
    # F821 is a name that nothing defines.
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F821",
        *map(str, sources),
    ]
    seen = subprocess.run(command, capture_output=True, text=True, check=False)
    if seen.returncode != 0:
        raise UnsoundCopyError(seen.stdout.strip() or seen.stderr.strip())


def _prepare(root: Path, server: str) -> None:
    """Have Postgres take the copy's schema and every query of it."""
    name = f"teeth_{secrets.token_hex(6)}"
    ran = commands.run([sys.executable, "-m", "tests.teeth.prepare_queries", server, name], root, PREPARE_SECONDS)
    if ran.exit_code != 0:
        raise UnsoundCopyError(ran.last_line)
