"""Posts to the webhook address to fuzz with, and what must hold for each of them."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from billing_worker import webhooks
from billing_worker.portone import webhook
from billing_worker.portone.webhook import NoPayment, Notice, Rejection, Unreadable, Verifier
from billing_worker.store.inbox import Hint
from billing_worker.telemetry import Metrics
from tests.builders import A_PAYMENT_ID, NOON, STORE_ID, FakeClock
from tests.webhooks import SECRET, a_body, signature

PATH = "/webhooks/portone"
BODY_BYTES_MAX = 65_536
SECONDS = int(NOON.timestamp())


@dataclass(frozen=True, slots=True)
class Post:
    """A body, headers beside or instead of the right ones, and whether it is signed with our secret."""

    body: bytes
    headers: list[tuple[bytes, bytes]]
    sign: bool


@dataclass(slots=True)
class Inbox:
    """Remembers what it was given to keep."""

    hints: list[Hint] = field(default_factory=list)

    async def keep(self, hint: Hint) -> bool:
        self.hints.append(hint)
        return True


_TEXTS = st.sampled_from(
    [
        A_PAYMENT_ID,
        STORE_ID,
        "",
        "x" * 201,
        "\x00",
        "\ud800",
        "홍길동",
        "Paid",
        "Transaction.Paid",
        "BillingKey.Issued",
        "9" * 5000,
    ]
) | st.text(max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(["paymentId", "transactionId", "cancellationId", "storeId", "billingKey"])
_EVENTS = st.sampled_from(["Transaction.Paid", "Transaction.Failed", "BillingKey.Deleted", "Transaction.New"]) | _VALUES
_NEW = st.fixed_dictionaries(
    {"type": _EVENTS}, optional={"data": st.dictionaries(_NAMES, _VALUES, max_size=5) | _VALUES, "timestamp": _VALUES}
)
_OLD = st.dictionaries(st.sampled_from(["payment_id", "tx_id", "status", "billing_key"]), _VALUES, max_size=4)
_HEADER_NAMES = st.sampled_from(
    [b"webhook-id", b"Webhook-Id", b"webhook-timestamp", b"webhook-signature", b"content-type", b"content-length"]
)
_HEADER_VALUES = st.binary(max_size=60) | st.sampled_from(
    [b"", b"v1,", b"v1," + b"A" * 44, b"v2,AAAA", b"\xff", b"9" * 5000, str(SECONDS).encode(), b"1e9", b"nan", b"-1"]
)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@st.composite
def posts(draw: st.DrawFn) -> Post:
    """A webhook that is sound or spoilt somewhere."""
    said: Any = draw(_NEW | _OLD | _VALUES)
    written = json.dumps(said).encode()
    if isinstance(said, dict) and draw(st.booleans()):
        written = urlencode([(_bytes(name), _bytes(str(value))) for name, value in said.items()]).encode()
    body = draw(st.sampled_from([written, a_body(), written[: len(written) // 2], b"\xff" + written]))
    headers = draw(st.lists(st.tuples(_HEADER_NAMES, _HEADER_VALUES), max_size=3))
    if draw(st.booleans()):
        headers.append((b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"))
    return Post(body, headers, sign=draw(st.booleans()))


async def post_is_taken_safely(post: Post) -> None:
    """It is answered with one of our statuses, and kept only where it is signed and speaks of a payment."""
    right = [
        (b"webhook-id", b"wh-1"),
        (b"webhook-timestamp", str(SECONDS).encode()),
        (b"webhook-signature", signature(SECRET, "wh-1", SECONDS, post.body).encode()),
    ]
    status, hints = await posted(post.body, [*(right if post.sign else []), *post.headers])

    assert status in {200, 400, 401, 413}
    assert not hints or (post.sign and status == 200)
    for hint in hints:
        _assert_short(hint.webhook_id, hint.event_type, hint.payment_id, hint.transaction_id, hint.cancellation_id)
        assert hint.event_type.startswith("Transaction.")


def bytes_are_read_safely(raw: bytes) -> None:
    """Signed bytes, the first of which chooses the form: they are read or not, and what is read is short."""
    form = bool(raw) and raw[0] % 2 == 1
    said = webhook.read(raw[1:], content_type="application/x-www-form-urlencoded" if form else "application/json")
    verdict = Verifier([SECRET]).verify([(b"webhook-id", raw), (b"webhook-signature", raw)], raw, now=NOON)

    assert isinstance(verdict, Rejection)
    assert isinstance(said, Notice | NoPayment | Unreadable)
    if isinstance(said, Notice):
        _assert_short(said.event_type, said.payment_id, said.transaction_id, said.cancellation_id, said.store_id)


def _assert_short(*texts: str | None) -> None:
    assert all(text is None or (0 < len(text) <= 200 and text.isprintable()) for text in texts)


async def spoilt_signature_is_refused(place: int, change: int) -> None:
    """A signature that differs in some bits of one byte is nobody's."""
    body = a_body()
    digest = bytearray(base64.b64decode(signature(SECRET, "wh-1", SECONDS, body).partition(",")[2]))
    digest[place] ^= change
    headers = [
        (b"webhook-id", b"wh-1"),
        (b"webhook-timestamp", str(SECONDS).encode()),
        (b"webhook-signature", b"v1," + base64.b64encode(digest)),
    ]

    assert await posted(body, headers) == (401, [])


async def posted(body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, list[Hint]]:
    """The status that the endpoint answers with, and what it had kept."""
    inbox, sent = Inbox(), list[dict[str, Any]]()
    app = webhooks.create_app(
        Verifier([SECRET]), inbox, FakeClock(), Metrics(), path=PATH, store_id=STORE_ID, body_bytes_max=BODY_BYTES_MAX
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), given) for name, given in headers],
    }
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": halves.pop(0), "more_body": bool(halves)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], inbox.hints
