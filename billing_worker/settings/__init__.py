"""Settings: one frozen object, or every problem at once, and how they are shown to people.

Nothing starts while one problem is left. A secret's value must never reach a message or a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from billing_worker.settings.fields import Settings, require_database_url
from billing_worker.settings.problems import Problem, SettingsFault, described, env_name, written
from billing_worker.settings.relations import relation_problems
from billing_worker.settings.secrecy import telling_secrets
from billing_worker.settings.sources import CREDENTIALS_DIR, FIELDS, SECRETS, SECRETS_DIR, Given, gather

__all__ = [
    "Problem",
    "Row",
    "Settings",
    "SettingsFault",
    "describe",
    "documented",
    "env_name",
    "load_database_url",
    "load_settings",
    "relation_problems",
]

MASK = "********"

# Longer values are described and not shown: a number or a word is short, a secret in the wrong place is not.
_SHOWN_CHARACTERS_MAX = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One setting for people to read: its value, masked where it is secret, and where that is from."""

    name: str
    value: str
    source: str
    description: str


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that the environment and its secret files give. Raises SettingsFault with every problem."""
    given, problems = gather(environ, tuple(FIELDS))
    values: dict[str, Any] = {item.field: item.value for item in given.values()}
    wrong: set[str] = set()
    try:
        settings = Settings(**values)
    except ValidationError as fault:
        errors = fault.errors()
        wrong = {str(error["loc"][0]) for error in errors}
        settings = _standing_in(values, wrong)
        secrets = [secret for _, secret in telling_secrets(settings)]
        problems += [_invalid(error, given, secrets) for error in errors if _is_news(error, problems)]
    problems += relation_problems(settings, ignored=frozenset(wrong))
    if problems:
        raise SettingsFault(tuple(problems))
    return settings


def load_database_url(environ: Mapping[str, str]) -> SecretStr:
    """The one setting of commands that need only Postgres, so that a migration is given no secret of PortOne's."""
    given, problems = gather(environ, ("database_url",))
    item = given.get("database_url")
    if item is None and not problems:
        problems.append(_missing("database_url"))
    if item is not None:
        try:
            require_database_url(SecretStr(item.value))
        except ValueError as fault:
            problems.append(Problem(item.place, described(item.value), str(fault), "correct it"))
    if problems or item is None:
        raise SettingsFault(tuple(problems))
    return SecretStr(item.value)


def describe(settings: Settings, environ: Mapping[str, str]) -> list[Row]:
    """Every setting with its value, masked where it is secret, and its source."""
    given, _ = gather(environ, tuple(FIELDS))
    return [
        Row(
            name=env_name(field),
            value=MASK if field in SECRETS else written(getattr(settings, field)),
            source=given[field].source if field in given else "default",
            description=about.description or "",
        )
        for field, about in FIELDS.items()
    ]


def documented() -> list[Row]:
    """Every setting with its default, for config/env.example and the README; source says required or default."""
    return [
        Row(env_name(field), _default(about), "required" if about.is_required() else "default", about.description or "")
        for field, about in FIELDS.items()
    ]


def _standing_in(values: Mapping[str, Any], wrong: set[str]) -> Settings:
    """Settings with the wrong ones at their defaults, good for nothing but comparing the others with each other."""
    right = {field: value for field, value in values.items() if field not in wrong}
    required: dict[str, Any] = {
        "database_url": "postgresql://",
        "portone_api_secret": "none",
        "portone_store_id": "none",
    }
    return Settings(**{**required, **right})


def _is_news(error: ErrorDetails, problems: list[Problem]) -> bool:
    """Whether nothing has been said of it: a secret whose file could not be read is not also reported as missing."""
    field = str(error["loc"][0])
    said = (f"{env_name(field)}_FILE", f"{field} in ")
    return error["type"] != "missing" or not any(problem.name.startswith(said) for problem in problems)


def _invalid(error: ErrorDetails, given: Mapping[str, Given], secrets: list[str]) -> Problem:
    """What pydantic found, in our words and without the value."""
    field = str(error["loc"][0])
    if error["type"] == "missing":
        return _missing(field)
    name = env_name(field)
    reason = error["msg"].removeprefix("Value error, ").removeprefix(f"{name} ").removesuffix(".")
    return Problem(name, _shape(field, given[field].value, secrets), reason[0].lower() + reason[1:], _advice(field))


def _missing(field: str) -> Problem:
    name = env_name(field)
    remedy = "set it"
    if field in SECRETS:
        remedy = f"set it, or {name}_FILE, or put a file called {field} into {SECRETS_DIR} or {CREDENTIALS_DIR}"
    return Problem(name, "not given", "is required", remedy)


def _advice(field: str) -> str:
    about = FIELDS[field]
    return (
        "correct it"
        if about.is_required()
        else f"correct it, or leave it out for the default ({_default(about) or 'none'})"
    )


def _shape(field: str, text: str, secrets: list[str]) -> str:
    """What a value looks like: shown only where it is short and neither is nor holds a secret or an address."""
    if not text:
        return "empty"
    may_hold_one = field in SECRETS or field == "portone_base_url" or any(secret in text for secret in secrets)
    if may_hold_one or len(text) > _SHOWN_CHARACTERS_MAX or not text.isprintable():
        return described(text)
    return f"'{text}'"


def _default(about: FieldInfo) -> str:
    return "" if about.default is PydanticUndefined else written(about.default)
