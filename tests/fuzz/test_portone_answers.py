"""Whatever PortOne or somebody in between answers: nothing raises, nothing is believed without proof, nothing leaks."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from billing_worker.billing.outcomes import Absent, Payment, Unanswered
from billing_worker.portone.client import ChargeOrder, ClientOptions, PortOneClient
from tests.fuzz import answers, claims
from tests.fuzz.answers import API_SECRET, BILLING_KEY, CHARGE, PAYMENT, PAYMENT_ID, SENT, TRANSACTIONS, RawAnswer

FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
LOOKS = answers.our_answers(PAYMENT) | answers.our_answers(TRANSACTIONS)


@pytest.fixture(scope="module")
def official() -> Iterator[answers.Official]:
    document = answers.official_document()
    if document is None:
        pytest.skip("PortOne's OpenAPI is not here: set BILLING_TEST_OPENAPI to the file")
    return answers.Official(document)


@FEW
@given(answers.raw_answers(answers.our_answers(CHARGE)))
@example(RawAnswer(200, {}, b'{"payment":{"pgTxId":"\\ud800","paidAt":"9999-12-31T23:59:59-23:59"}}'))
def test_no_answer_to_a_charge_is_believed_without_its_proof(answer: RawAnswer) -> None:
    claims.charge_is_read_safely(answer)


@FEW
@given(answers.raw_answers(LOOKS))
def test_no_answer_to_a_look_is_believed_without_its_proof(answer: RawAnswer) -> None:
    claims.looks_are_read_safely(answer)


@pytest.mark.parametrize(
    ("call", "claim"),
    [
        (CHARGE, claims.charge_is_read_safely),
        (PAYMENT, claims.looks_are_read_safely),
        (TRANSACTIONS, claims.looks_are_read_safely),
    ],
)
def test_no_official_answer_and_no_spoilt_one_is_believed_without_its_proof(
    official: answers.Official, call: tuple[str, str], claim: Callable[[RawAnswer], None]
) -> None:
    made = answers.raw_answers(official.answers(call))

    settings(FEW, max_examples=100)(given(made)(claim))()


@FEW
@given(st.integers(100, 999), answers.HEADERS, st.binary(max_size=200))
def test_no_bytes_are_believed_without_their_proof(status: int, headers: dict[str, str], body: bytes) -> None:
    claims.charge_is_read_safely(RawAnswer(status, headers, body))
    claims.looks_are_read_safely(RawAnswer(status, headers, body))


@pytest.mark.parametrize("field", ["message", "pgMessage", "pgCode"])
@pytest.mark.parametrize("padding", [0, 1000 - len(BILLING_KEY) // 2, 1000 - len(BILLING_KEY) + 1, 999])
@pytest.mark.parametrize("secret", [BILLING_KEY, API_SECRET])
@pytest.mark.parametrize("error_type", ["PG_PROVIDER", "INVALID_REQUEST", "UNAUTHORIZED"])
def test_a_secret_that_an_answer_quotes_is_cut_out_wherever_it_stands(
    field: str, padding: int, secret: str, error_type: str
) -> None:
    quoted = f'{{"type": "{error_type}", "{field}": "{"x" * padding}{secret}"}}'

    claims.charge_is_read_safely(RawAnswer(502, {}, quoted.encode()))


class _Answering(httpx.AsyncBaseTransport):
    """A network on which every request gets the same answer."""

    def __init__(self, answer: RawAnswer) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.encode(), text.encode("latin-1", "replace")) for name, text in self._answer.headers.items()]
        return httpx.Response(self._answer.status, headers=headers, content=self._answer.body)


def a_client(answer: RawAnswer) -> PortOneClient:
    options: dict[str, Any] = {"resends_max": 0, "requests_per_second": 1e6, "burst": 1000}
    return PortOneClient(
        ClientOptions(base_url="http://127.0.0.1:1", api_secret=SecretStr(API_SECRET), store_id="store-1", **options),
        host_time=lambda: datetime(2026, 9, 1, tzinfo=UTC),
        seconds=lambda: 0.0,
        transport=lambda: _Answering(answer),
    )


@FEW
@given(answers.raw_answers(answers.our_answers(CHARGE) | LOOKS))
async def test_the_client_raises_on_no_answer(answer: RawAnswer) -> None:
    async with a_client(answer) as client:
        order = ChargeOrder(PAYMENT_ID, f"{PAYMENT_ID}-g0001", SENT, send_before=1.0)
        charged = await client.charge(order)
    async with a_client(answer) as client:
        found = await client.find(PAYMENT_ID)
    async with a_client(answer) as client:
        listed = await client.transactions(PAYMENT_ID)

    assert charged.sends == 1
    claims.assert_charge_outcome(charged.outcome, answer)
    assert isinstance(found, Payment | Absent | Unanswered)
    assert isinstance(listed, tuple | Absent | Unanswered)
