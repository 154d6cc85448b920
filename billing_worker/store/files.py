"""Where the SQL files are: beside the package in a checkout, inside it in a wheel. Nobody else may know.

It reads files and decides nothing about what they say.
"""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

# A wheel carries a copy inside the package; a checkout has the originals beside it.
_PLACES = (_PACKAGE / "_sql", _PACKAGE.parent / "sql")


class SqlFilesMissingError(RuntimeError):
    """The installation is not whole: nothing can run without its SQL."""


@cache
def sql_directory() -> Path:
    """The directory that holds migrations and queries."""
    return find_sql_directory(_PLACES)


def find_sql_directory(places: tuple[Path, ...]) -> Path:
    """The first of the places that has migrations. Raises SqlFilesMissingError."""
    for place in places:
        if (place / "migrations").is_dir():
            return place
    looked = " and ".join(str(place) for place in places)
    raise SqlFilesMissingError(f"no sql/migrations in {looked}: install billing-worker again")


def migration_files() -> list[Path]:
    """The numbered migrations, in order."""
    return sorted((sql_directory() / "migrations").glob("[0-9]*.sql"))


def query_texts() -> list[str]:
    """The text of every file of named queries."""
    return [path.read_text(encoding="utf-8") for path in sorted((sql_directory() / "queries").glob("*.sql"))]


def roles_text() -> str:
    """The SQL that makes the group roles."""
    return (sql_directory() / "roles.sql").read_text(encoding="utf-8")
