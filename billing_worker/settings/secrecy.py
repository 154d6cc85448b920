"""Which secrets the settings hold, and in which other settings they stand.

Commands and the log show every setting but the secrets, so a secret that was pasted into a second one would be shown.
Nothing is raised or written here: whoever calls says it, and never with the value.
"""

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from billing_worker.settings.fields import Settings, webhook_secrets_of

# Anything shorter is a word or a number that stands in many a value by chance, as a test's password does.
SECRET_CHARACTERS_MIN = 8


def telling_secrets(given: Settings) -> Iterator[tuple[str, str]]:
    """Every secret that is long enough to be known by, after the setting that holds it."""
    held = {
        "portone_api_secret": [given.portone_api_secret.get_secret_value()],
        "database_url": _passwords(given.database_url.get_secret_value()),
        "webhook_secrets": [one.get_secret_value() for one in webhook_secrets_of(given.webhook_secrets)],
    }
    for field, secrets in held.items():
        yield from ((field, secret) for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN)


def misplaced_secrets(given: Settings) -> list[tuple[str, str]]:
    """Each setting in which the secret of another one stands, and that other one."""
    # A default was not pasted, and a number has too few digits.
    texts = {field: _text(getattr(given, field)) for field in sorted(given.model_fields_set)}
    found = {
        (field, held_by): None
        for held_by, secret in telling_secrets(given)
        for field, text in texts.items()
        if field != held_by and secret in text
    }
    return list(found)


def _passwords(url: str) -> list[str]:
    """The passwords in a database's URL, as they are written there and as they are meant."""
    parts = urlsplit(url)
    as_written = parts.password or ""
    return [as_written, unquote(as_written), *parse_qs(parts.query).get("password", ())]


def _text(value: object) -> str:
    """What a setting of text says; empty for any other."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, str) else ""
