"""What the worker assumes of PortOne. Each assumption has a number and at least one contract test that carries it.

A test says `@assumption("A3")`; test_every_assumption.py keeps list and tests together, and docs/proof.md takes its
table from `table()`. Where a test channel cannot be brought to show the thing, `real` says why; the simulator shows it.
"""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Assumption:
    """One thing that PortOne is taken to do, what rests on it, and where it is documented."""

    number: str
    says: str
    rests_on_it: str
    source: str
    real: str = ""  # why a real test channel cannot show it; empty where it can


_NO_DECLINES = "KPN's test channel never declines; runs where BILLING_CONTRACT_DECLINING_BILLING_KEY names such a key"
_OVERVIEW = "REST overview"
_OPENAPI = "OpenAPI"

ASSUMPTIONS = (
    Assumption(
        "A1", "A paymentId is paid at most once, for ever, even after a refund", "one payment_id a cycle", _OPENAPI
    ),
    Assumption("A2", "A key that was answered repeats its answer and charges nothing", "every resend", _OVERVIEW),
    Assumption(
        "A3",
        "A key is remembered for three hours from its first receipt",
        "resends end after two and a half hours",
        _OVERVIEW,
        real="three hours pass on the simulator's clock only",
    ),
    Assumption("A4", "A key repeats a decline as well", "a retry has a new key", "inferred", real=_NO_DECLINES),
    Assumption("A5", "One key with another body charges nothing", "the bytes are kept with the attempt", "inferred"),
    Assumption(
        "A6",
        "A second request while its key is at work waits: 409 IDEMPOTENCY_OUTSTANDING_REQUEST, or the same answer",
        "a resend beside its first send",
        _OVERVIEW,
    ),
    Assumption("A7", "GET finds a payment by its id once the charge was answered", "every look", _OPENAPI),
    Assumption(
        "A8", "A FAILED paymentId may be charged again under a new key", "every retry", _OPENAPI, real=_NO_DECLINES
    ),
    Assumption(
        "A9", "The tries of a paymentId are listed, each with its times", "whose decline it is", "OpenAPI, unstable"
    ),
    Assumption(
        "A10",
        "A decline is type PG_PROVIDER with pgCode and pgMessage, and the payment is FAILED",
        "dunning",
        _OPENAPI,
        real=_NO_DECLINES,
    ),
    Assumption("A11", "A look names the store; another store's is refused", "one store a worker", _OPENAPI),
    Assumption(
        "A12", "Amounts are minor units and come back as sent, with currency and TEST or LIVE", "comparing", _OPENAPI
    ),
    Assumption("A13", "Every answer has a Date header", "the check of the host's clock", "HTTP"),
    Assumption("A14", "A wrong secret is 401 UNAUTHORIZED, and nothing is charged", "sending stops", _OPENAPI),
    Assumption("A15", "An error of PortOne's own has a body with its type", "outcomes are read by type", _OPENAPI),
    Assumption(
        "A16",
        "Hanging up does not stop a charge: it is defended against either way",
        "a POST is never cancelled",
        _OVERVIEW,
    ),
    Assumption("A17", "A 200 means paid, and carries pgTxId and paidAt", "paid is believed at once", _OPENAPI),
    Assumption(
        "A18", "Thirty of [0-9a-z] are a paymentId, and the quoted key of an attempt is a key", "both ids", "KPN page"
    ),
    Assumption(
        "A19",
        "A decline that turns out paid does not pay what another try has paid",
        "a retry on the same payment_id (T4 of the model)",
        "inferred",
        real="nobody can order a late success",
    ),
    Assumption(
        "A20",
        "A payment that exists is shown to a look within a day",
        "voiding after 24 hours (T3 of the model)",
        "inferred",
        real="nobody can order a record that lags",
    ),
    Assumption(
        "A21",
        "Two tries on one paymentId at the same time pay once",
        "guards one and two; the key guards where it fails",
        "inferred",
        real="it would charge twice where it is wrong",
    ),
)


def assumption(*numbers: str) -> pytest.MarkDecorator:
    """Mark a test as the evidence for these assumptions."""
    unknown = set(numbers) - {each.number for each in ASSUMPTIONS}
    if unknown:
        raise ValueError(f"no such assumption: {', '.join(sorted(unknown))}")
    return pytest.mark.assumption(*numbers)


def table() -> str:
    """The list as one Markdown table."""
    lines = [
        "| no. | assumed of PortOne | what rests on it | source | test channel |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.number} | {each.says} | {each.rests_on_it} | {each.source} | {each.real or 'yes'} |"
        for each in ASSUMPTIONS
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
