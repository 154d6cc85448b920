"""What the long run fuzzes: the same claims as the tests, on shaped inputs and on raw bytes.

Run as a program, by tests.fuzz alone, it hands one target to atheris, which watches the branches of the worker's own
modules and grows the inputs that reach new ones.
"""

import random
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings

# Raw bytes say everything about an answer: the first byte chooses its status, the rest is the body.
_STATUSES = (200, 201, 400, 401, 404, 409, 429, 500, 502, 503)

# Kept as source and imported late: atheris must see the worker's modules being imported to watch them.
TARGETS = ("answer_bytes", "charges", "csv_bytes", "csv_files", "environments", "looks", "webhook_bytes")


def seeds(target: str) -> list[bytes]:
    """What a corpus begins with. Shaped inputs are drawn from bytes, and a few short ones make nothing."""
    match target:
        case "answer_bytes":
            bodies = (b'{"payment":{"pgTxId":"a","paidAt":"2026-09-01T00:00:03Z"}}', b'{"type":"PG_PROVIDER"}')
            return [bytes([status]) + body for status in range(len(_STATUSES)) for body in bodies]
        case "csv_bytes":
            header = b"business_key,customer_id,customer_name,billing_key,amount,anchor_on\n"
            return [header, header + b"a,b,c,d,9900,2026-01-31\n", b"\xef\xbb\xbf" + header]
        case "webhook_bytes":
            bodies = (b'{"type":"Transaction.Paid","data":{"paymentId":"a"}}', b'{"payment_id":"a","status":"Paid"}')
            return [b"\0" + body for body in bodies] + [b"\1payment_id=a&tx_id=b&status=Paid"]
        case _:
            return [random.Random(number).randbytes(2000) for number in range(16)]


def _target(name: str) -> Callable[[bytes], object]:
    from tests.fuzz import answers, claims, inputs, posts  # noqa: PLC0415 - inside atheris' watch

    def answer_bytes(raw: bytes) -> None:
        answer = answers.RawAnswer(_STATUSES[raw[0] % len(_STATUSES)] if raw else 200, {}, raw[1:])
        claims.charge_is_read_safely(answer)
        claims.looks_are_read_safely(answer)

    def environment(environ: dict[str, str]) -> None:
        claims.environment_is_read_safely(environ, (inputs.CONSOLE_SECRET, inputs.DATABASE_PASSWORD))

    looks = answers.our_answers(answers.PAYMENT) | answers.our_answers(answers.TRANSACTIONS)
    shaped: dict[str, tuple[Any, Callable[[Any], None]]] = {
        "charges": (answers.raw_answers(answers.our_answers(answers.CHARGE)), claims.charge_is_read_safely),
        "looks": (answers.raw_answers(looks), claims.looks_are_read_safely),
        "csv_files": (inputs.csv_files(), claims.file_is_read_safely),
        "environments": (inputs.ENVIRONMENTS, environment),
    }
    if name in shaped:
        strategy, claim = shaped[name]
        freely = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
        decorate: Any = given(strategy)
        test = freely(decorate(claim))
        fuzz: Callable[[bytes], object] = test.hypothesis.fuzz_one_input
        return fuzz
    raw_targets = {
        "answer_bytes": answer_bytes,
        "csv_bytes": claims.file_is_read_safely,
        "webhook_bytes": posts.bytes_are_read_safely,
    }
    return raw_targets[name]


def _main() -> None:
    import atheris  # noqa: PLC0415 - of the long run only

    with atheris.instrument_imports(include=["billing_worker"]):
        target = _target(sys.argv[1])

    def one_input(raw: bytes) -> None:
        target(raw)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
