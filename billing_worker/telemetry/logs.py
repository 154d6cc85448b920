"""Log lines: one chain for ours and for those of libraries, and what must never be in them.

The chain takes out billing keys, secrets, customers and the rows that Postgres quotes in its errors. A line that cannot
be written is dropped: a log must never decide what becomes of a charge.
"""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

# At INFO these log a line for each ring of the bell, or a URL, and PortOne's URLs hold billing keys.
QUIET_LOGGERS = ("httpx", "httpcore", "aiohttp.access", "aiohttp.client", "uvicorn", "apscheduler", "asyncio")

# Compared without case, - and _, so that billingKey, billing_key and Billing-Key are one.
SECRET_FIELDS = frozenset(
    {
        "billingkey",
        "authorization",
        "apisecret",
        "portoneapisecret",
        "secret",
        "password",
        "databaseurl",
        "dsn",
        "cardnumber",
        "customername",
        "customerphone",
        "customeremail",
        "requestbody",
    }
)

_GIVES = r"[\"']?\s*[=:]\s*[\"']?"
_VALUE = r"[^\s\"'&,}]+"

# Each is looked for only in text that contains the word before it, because nearly no text does.
_SECRET_TEXTS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("illing", re.compile(rf"(?i)(/billing-keys/|billing_?key{_GIVES}|billing-key-){_VALUE}"), rf"\1{REDACTED}"),
    ("assword", re.compile(rf"(?i)(password{_GIVES}){_VALUE}"), rf"\1{REDACTED}"),
    ("://", re.compile(r"(://)[^\s/@]*:\S*@"), rf"\1{REDACTED}@"),
    ("PortOne ", re.compile(r"\b(PortOne )[!-~]{16,}"), rf"\1{REDACTED}"),
    # Postgres quotes whole rows, and so billing keys of any form, in the DETAIL of an error.
    ("DETAIL:", re.compile(r"(DETAIL:).*"), rf"\1 {REDACTED}"),
)

# Deeper than anything we log; what is below is not worth a recursion without end.
_DEPTH_MAX = 6
_PLAIN = frozenset({int, float, bool, type(None)})

LogFormat = Literal["json", "console"]


def start_logging(*, level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send every log line, of structlog and of the standard library, through one chain to the stream or to stdout."""
    out = _whole_lines(stream or sys.stdout)
    before = _chain()
    render = _renderer(log_format, colors=out.colors)
    threshold = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*before, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: out,
        cache_logger_on_first_use=True,
    )
    bridge = logging.StreamHandler(out)
    bridge.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    # When a line cannot be made, the standard library would print the arguments, unredacted, to stderr.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=threshold, handlers=[bridge], force=True)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    # It warns of every ring that comes while a pass is under way, which is what a long pass looks like.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)


def _chain() -> list[Processor]:
    """What every event passes before it is rendered; redaction is last, when the exception has become text."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        redact,
    ]


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take secrets out of an event: by the field's name, by the value's type, and by what the text looks like."""
    for key, value in event.items():
        kind = type(value)
        if kind in _PLAIN:
            continue
        if key[:1] != "_" and _is_secret_field(key):
            event[key] = REDACTED
        elif kind is str:
            event[key] = redact_text(value)
        elif key[:1] != "_":
            event[key] = _redact_value(value, _DEPTH_MAX)
    return event


def redact_text(text: str) -> str:
    """The text without anything in it that looks like a billing key, a secret or a quoted row."""
    for word, pattern, instead in _SECRET_TEXTS:
        if word in text:
            text = pattern.sub(instead, text)
    return text


def _redact_value(value: object, depth: int) -> object:
    match value:
        case str():
            return redact_text(value)
        case int() | float() | None:
            return value
        case Mapping() if depth:
            return {
                str(key): REDACTED if _is_secret_field(str(key)) else _redact_value(part, depth - 1)
                for key, part in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth:
            return [_redact_value(part, depth - 1) for part in value]
        case _ if (
            hasattr(value, "get_secret_value") or hasattr(value, "reveal") or isinstance(value, bytes | bytearray)
        ):
            return REDACTED
        case _:
            return redact_text(str(value))


_FIELD_VERDICTS: dict[str, bool] = {}
_FIELD_VERDICTS_MAX = 2000  # far more than the field names in use; foreign mappings may bring others


def _is_secret_field(key: str) -> bool:
    """Whether the name alone says secret. Names come again and again, so the answers are kept."""
    verdict = _FIELD_VERDICTS.get(key)
    if verdict is None:
        verdict = key.lower().replace("_", "").replace("-", "") in SECRET_FIELDS
        if len(_FIELD_VERDICTS) < _FIELD_VERDICTS_MAX:
            _FIELD_VERDICTS[key] = verdict
    return verdict


_encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _encode(event)


def _renderer(log_format: LogFormat, *, colors: bool) -> Processor:
    if log_format == "json":
        return _render_json
    # The exception is text already; the library's own rendering would show local variables, and so secrets.
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


class _Lines:
    """The end of the chain, for structlog and for the standard library: whole lines, or nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.colors = stream.isatty()

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return  # the reader is gone or the disk is full; the charge goes on

    def flush(self) -> None:
        """Every write is flushed."""

    def msg(self, message: str) -> None:
        self.write(message + "\n")

    debug = info = warning = error = critical = exception = log = msg


def _whole_lines(stream: TextIO) -> _Lines:
    if isinstance(stream, io.TextIOWrapper):
        # A terminal or a container without a UTF-8 locale must not lose the lines that hold a Korean message.
        stream.reconfigure(errors="backslashreplace")
    return _Lines(stream)
