"""Where the values of the settings come from.

A value comes from its environment variable; a secret may instead come from the file that <NAME>_FILE names, or from
one with the setting's own name in $BILLING_SECRETS_DIR or systemd's $CREDENTIALS_DIRECTORY. Two places that both give a
value are a fault and no precedence: a rotated secret with a forgotten twin would work until the day it does not.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from billing_worker.settings.fields import PREFIX, Settings
from billing_worker.settings.problems import Problem, described, env_name

SECRETS_DIR = "BILLING_SECRETS_DIR"
CREDENTIALS_DIR = "CREDENTIALS_DIRECTORY"

FIELDS: Mapping[str, FieldInfo] = Settings.model_fields
SECRETS = frozenset(field for field, about in FIELDS.items() if about.annotation is SecretStr)

# Tests name their own server with these.
_TEST_PREFIX = "BILLING_TEST_"

# Kubernetes puts a variable like BILLING_WORKER_SERVICE_HOST into every pod beside a Service called billing-worker.
_SERVICE_LINK = re.compile(
    r"\ABILLING_[A-Z0-9_]*?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)\Z"
)

# No secret of ours is longer than a few hundred bytes; a longer file is the wrong file.
_SECRET_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Given:
    """What one place says a setting is; place is what to call it in a message."""

    field: str
    place: str
    source: Literal["env", "file"]
    value: str


def gather(environ: Mapping[str, str], fields: tuple[str, ...]) -> tuple[dict[str, Given], list[Problem]]:
    """What the named settings are given, and the problems of finding that out."""
    problems: list[Problem] = [*_unknown(environ)]
    given: dict[str, Given] = {}
    for field in fields:
        for item in _places(field, environ, problems):
            if field in given:
                both = f"both {given[field].place} and {item.place} give it"
                problems.append(Problem(env_name(field), "given twice", both, "keep one"))
            given.setdefault(field, item)
    return given, problems


def _places(field: str, environ: Mapping[str, str], problems: list[Problem]) -> Iterator[Given]:
    """Every value that a place gives the setting; files that cannot be read are added to the problems."""
    name = env_name(field)
    # Deployment tools write an optional variable that nobody filled in as an empty one.
    left_blank = environ.get(name) == "" and FIELDS[field].default is None
    if name in environ and not left_blank:
        yield Given(field, name, "env", environ[name])
    if field in SECRETS:
        for place, path in _files(field, environ):
            try:
                yield Given(field, place, "file", _read_secret(path))
            except OSError as fault:
                if isinstance(fault, FileNotFoundError) and place != f"{name}_FILE":
                    continue  # a directory need not hold every secret
                problems.append(Problem(place, "a file", f"cannot be read ({fault.strerror})", "let this user read it"))
            except ValueError as fault:
                problems.append(
                    Problem(place, "a file", str(fault), "let it hold the secret as plain text, nothing else")
                )


def _files(field: str, environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The files that may give a secret: the one named for it, and those of its own name in the directories."""
    own = f"{env_name(field)}_FILE"
    if own in environ:
        yield own, Path(environ[own])
    for directory in (SECRETS_DIR, CREDENTIALS_DIR):
        if environ.get(directory):
            yield f"{field} in {directory}", Path(environ[directory]) / field


def _read_secret(path: Path) -> str:
    """The file's text without the line end that editors add. Raises OSError, or a ValueError without the text."""
    with path.open("rb") as file:
        content = file.read(_SECRET_BYTES_MAX + 1)
    if len(content) > _SECRET_BYTES_MAX:
        raise ValueError(f"is larger than {_SECRET_BYTES_MAX} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables of ours that mean nothing: a misspelt setting would silently keep its default."""
    known = {env_name(field) for field in FIELDS} | {f"{env_name(field)}_FILE" for field in SECRETS} | {SECRETS_DIR}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name.startswith(_TEST_PREFIX) or _SERVICE_LINK.match(name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else "remove it"
        yield Problem(name, described(environ[name]), "is no setting", remedy)
    if environ.get(SECRETS_DIR) and not _is_directory(Path(environ[SECRETS_DIR])):
        yield Problem(SECRETS_DIR, "a path", "is no directory", "name the directory of the secret files, or remove it")


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A name that is too long, or one under a directory that this user may not look into.
        return False
