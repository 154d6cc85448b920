"""Answers of PortOne to fuzz with: sound ones, by the official OpenAPI or by our own short list, and spoilt ones.

An answer is spoilt as a tree first (fields dropped, renamed, of another type, huge, deep) and as bytes after that
(duplicate keys, cut off, another encoding). Nothing here says what any of them means.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

BILLING_KEY = "billing-key-0198c0de-7d1e-7000-8000-5eed5eed5eed"
API_SECRET = "api-5ecret-0198c0de-of-the-console"
SENT = json.dumps({"storeId": "store-1", "billingKey": BILLING_KEY, "amount": {"total": 9900}}).encode()
PAYMENT_ID = "rb1payment"

CHARGE = ("post", "/payments/{paymentId}/billing-key")
PAYMENT = ("get", "/payments/{paymentId}")
TRANSACTIONS = ("get", "/payments/{paymentId}/transactions")

# As deep as PortOne's own objects are; what lies deeper is left out.
_DEPTH_MAX = 7

_OFFICIAL = Path(
    os.environ.get(
        "BILLING_TEST_OPENAPI", Path(__file__).parents[3] / "shared" / "reference" / "portone-v2.openapi.json"
    )
)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One HTTP answer, as the client hands it to the reading of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def official_document() -> dict[str, Any] | None:
    """PortOne's OpenAPI, which is not ours to ship; None where nobody has put it."""
    if not _OFFICIAL.is_file():
        return None
    document: dict[str, Any] = json.loads(_OFFICIAL.read_text(encoding="utf-8"))
    return document


class Official:
    """Strategies that make what the OpenAPI allows, errors included."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._named: dict[tuple[str, int], st.SearchStrategy[object]] = {}

    def answers(self, call: tuple[str, str]) -> st.SearchStrategy[tuple[int, object]]:
        """Status and body of every documented answer of one call."""
        method, path = call
        responses = self._document["paths"][path][method]["responses"]
        return st.one_of(
            [
                st.tuples(st.just(int(status)), self._of(response["content"]["application/json"]["schema"], 0))
                for status, response in responses.items()
            ]
        )

    def _of(self, schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[object]:
        if depth > _DEPTH_MAX:
            return st.none()
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if (name, depth) not in self._named:
                referred = self._document["components"]["schemas"][name]
                self._named[name, depth] = st.deferred(lambda: self._of(referred, depth + 1))
            return self._named[name, depth]
        if "oneOf" in schema:
            return st.one_of([self._variant(variant, schema, depth) for variant in schema["oneOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        return self._of_type(schema, depth)

    def _variant(self, variant: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[object]:
        made = self._of(variant, depth + 1)
        discriminator = schema.get("discriminator")
        if not discriminator:
            return made
        words = [word for word, ref in discriminator["mapping"].items() if ref == variant.get("$ref")]
        field = discriminator["propertyName"]
        return st.tuples(made, st.sampled_from(words)).map(
            lambda both: both[0] | {field: both[1]} if isinstance(both[0], dict) else both[0]
        )

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[object]:
        match schema.get("type"):
            case "object":
                fields = {name: self._of(each, depth + 1) for name, each in schema.get("properties", {}).items()}
                required = set(schema.get("required", ()))
                return st.fixed_dictionaries(
                    {name: each for name, each in fields.items() if name in required},
                    optional={name: each for name, each in fields.items() if name not in required},
                )
            case "array":
                return st.lists(self._of(schema["items"], depth + 1), max_size=3)
            case "string" if schema.get("format") == "date-time":
                return _INSTANTS
            case kind:
                return _PLAIN.get(kind, st.none())


_INSTANTS = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from(
    ["2026-09-01T09:00:00.123456789+09:00", "2026-09-01T00:00:03Z", "0001-01-01T00:00:00+23:59", "2026-09-01"]
)
# A PG may quote anything that it was sent; padding brings the quote to where texts are cut.
_QUOTES = st.tuples(
    st.integers(0, 1010), st.sampled_from([BILLING_KEY, API_SECRET, f"PortOne {API_SECRET}", "한도초과", "\x00\x1b[2J"])
).map(lambda both: "x" * both[0] + both[1])
_TEXTS = st.text(max_size=12) | st.sampled_from(["KPN", "0000", PAYMENT_ID, "store-1", "KRW"]) | _QUOTES
_PLAIN: Mapping[Any, st.SearchStrategy[object]] = {
    "string": _TEXTS,
    "integer": st.integers(0, 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}
_TYPES = st.sampled_from(
    [
        "PG_PROVIDER",
        "BILLING_KEY_NOT_FOUND",
        "BILLING_KEY_ALREADY_DELETED",
        "INVALID_REQUEST",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "CHANNEL_NOT_FOUND",
        "ALREADY_PAID",
        "MAX_TRANSACTION_COUNT_REACHED",
        "IDEMPOTENCY_OUTSTANDING_REQUEST",
        "PAYMENT_NOT_FOUND",
        "SOMETHING_NEW",
    ]
)
_STATUSES = st.sampled_from(["PAID", "FAILED", "CANCELLED", "PARTIAL_CANCELLED", "READY", "PAY_PENDING", "NEW"])
_CODES = st.integers(100, 999) | st.sampled_from([200, 201, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504])

_ERRORS = st.fixed_dictionaries({"type": _TYPES}, optional={"message": _TEXTS, "pgCode": _TEXTS, "pgMessage": _TEXTS})
_PAID = st.fixed_dictionaries({"payment": st.fixed_dictionaries({"pgTxId": _TEXTS, "paidAt": _INSTANTS})})


def _payments(id_field: str, transaction_field: str) -> st.SearchStrategy[dict[str, object]]:
    money = st.integers(0, 10**10)
    return st.fixed_dictionaries(
        {
            "status": _STATUSES,
            id_field: st.just(PAYMENT_ID) | _TEXTS,
            transaction_field: _TEXTS,
            "storeId": _TEXTS,
            "channel": st.fixed_dictionaries({"type": st.sampled_from(["LIVE", "TEST", "NEW"])}),
            "billingKey": st.just(BILLING_KEY),
            "requestedAt": _INSTANTS,
            "statusChangedAt": _INSTANTS,
            "amount": st.fixed_dictionaries({"total": money}, optional={"cancelled": money, "paid": money}),
            "currency": st.sampled_from(["KRW", "USD", "XYZ"]),
        },
        optional={
            "paidAt": _INSTANTS,
            "pgTxId": _TEXTS,
            "failure": st.fixed_dictionaries({}, optional={"reason": _TEXTS, "pgCode": _TEXTS, "pgMessage": _TEXTS}),
        },
    )


def our_answers(call: tuple[str, str]) -> st.SearchStrategy[tuple[int, object]]:
    """What PortOne is known to answer, without its OpenAPI at hand."""
    sound: dict[tuple[str, str], st.SearchStrategy[Any]] = {
        CHARGE: _PAID,
        PAYMENT: _payments("id", "transactionId"),
        TRANSACTIONS: st.fixed_dictionaries({"items": st.lists(_payments("paymentId", "id"), max_size=3)}),
    }
    return st.tuples(st.just(200), sound[call]) | st.tuples(_CODES, sound[call]) | st.tuples(_CODES, _ERRORS)


_LEAVES: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, -1, 0, 2**63, 1.5, 1e308, float("inf"), float("nan"), "", " ", "\ud800", "\x00", "１"]),
    st.sampled_from([BILLING_KEY, API_SECRET, "9" * 5000, "x" * 2000, [], {}, [[]], {"type": "PG_PROVIDER"}]),
    _TEXTS,
)


@st.composite
def spoilt(draw: st.DrawFn, tree: object) -> object:
    """The tree with up to three places changed."""
    for _ in range(draw(st.integers(0, 3))):
        tree = draw(_spoilt_once(tree))
    return tree


@st.composite
def _spoilt_once(draw: st.DrawFn, tree: object) -> object:
    if isinstance(tree, dict) and tree and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(tree, key=str)))
        rest = {key: value for key, value in tree.items() if key != name}
        match draw(st.sampled_from(["inside", "drop", "rename", "replace"])):
            case "inside":
                return tree | {name: draw(_spoilt_once(tree[name]))}
            case "drop":
                return rest
            case "rename":
                return rest | {draw(st.sampled_from([name.upper(), f"{name} ", name[:-1], "type"])): tree[name]}
            case _:
                return tree | {name: draw(_LEAVES)}
    if isinstance(tree, list) and tree and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(tree) - 1))
        return [*tree[:place], draw(_spoilt_once(tree[place])), *tree[place + 1 :]]
    return draw(_LEAVES)


@st.composite
def _encoded(draw: st.DrawFn, tree: object) -> bytes:
    """The tree as bytes, most of the time as JSON and sometimes as nearly that."""
    text = json.dumps(tree, ensure_ascii=draw(st.booleans()))
    match draw(st.sampled_from(["plain"] * 6 + ["twice", "cut", "utf-16", "bom", "latin", "deep", "noise", "binary"])):
        case "twice":
            # The last of two equal keys counts; what reads the first one would be told something else.
            other = json.dumps(draw(_LEAVES))
            text = text.replace("{", f'{{"type": {other}, "payment": {other}, "items": {other}, ', 1)
        case "cut":
            text = text[: draw(st.integers(0, len(text)))]
        case "utf-16":
            return text.encode("utf-16", "surrogatepass")
        case "bom":
            return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
        case "latin":
            return text.encode("latin-1", "replace")
        case "deep":
            text = "[" * 20_000 + text
        case "noise":
            text = draw(st.sampled_from(["<html>502 Bad Gateway</html>", "", " ", "null", "true", text + text, "NaN"]))
        case "binary":
            return draw(st.binary(max_size=64))
        case _:
            return text.encode("utf-8", "surrogatepass")
    return text.encode("utf-8", "surrogatepass")


HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type", "x-request-id"]),
    st.text(max_size=30) | st.sampled_from(["5", "-1", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "text/html", "١"]),
    max_size=3,
)


def raw_answers(sound: st.SearchStrategy[tuple[int, object]]) -> st.SearchStrategy[RawAnswer]:
    """Sound answers and spoilt ones, as they arrive."""

    @st.composite
    def made(draw: st.DrawFn) -> RawAnswer:
        status, tree = draw(sound)
        if draw(st.booleans()):
            tree = draw(spoilt(tree))
            status = draw(st.just(status) | _CODES)
        return RawAnswer(status, draw(HEADERS), draw(_encoded(tree)))

    return made()
