"""The simulated PortOne of the demo: a program beside us, and the truth that it keeps.

Only its control address is asked. What it says was charged is what the ledger is measured by, so nothing here may know
what the worker recorded.
"""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from billing_worker.demo.children import DemoFailedError, Program
from billing_worker.demo.pace import API_SECRET, STORE_ID

# The whole truth of a thousand charges is a third of a megabyte and takes a tenth of a second.
_ANSWER_SECONDS_MAX = 60.0

# A way of our own, so that a proxy of the caller's environment is not asked to reach our loopback address.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, order=True)
class Payment:
    """One charge, as either side has it."""

    payment_id: str
    amount: int
    pg_tx_id: str

    def line(self) -> str:
        """The payment as the fingerprint reads it; sql/queries/demo.sql writes the ledger's the same way."""
        return f"{self.payment_id} {self.amount} {self.pg_tx_id}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One booking as PortOne has it; the status is PortOne's word."""

    schedule_id: str
    payment_id: str
    amount: int
    status: str

    def line(self) -> str:
        """The schedule, to be printed."""
        return f"{self.schedule_id} {self.payment_id} {self.amount} {self.status}"


@dataclass(frozen=True, slots=True)
class Truth:
    """Every charge really made, which payments were charged more than once, and requests that broke the contract.

    scheduled has the payment ids of those that PortOne charged by itself, and webhooks what became of how many.
    """

    payments: tuple[Payment, ...]
    charged_twice: tuple[str, ...]
    violations: int
    scheduled: frozenset[str] = frozenset()
    schedules: tuple[Schedule, ...] = ()
    webhooks: Mapping[str, int] = field(default_factory=dict)


class PracticePortOne:
    """A simulator that runs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.url = program.wait_for("url")

    @classmethod
    def start(cls, logs: Path, options: Mapping[str, Any]) -> "PracticePortOne":
        """A simulator with these options. Raises DemoFailedError."""
        arguments = ["simulator", "--port", "0", "--api-secret", API_SECRET, "--store-id", STORE_ID, "--json"]
        program = Program("simulator", arguments, settings={}, logs=logs)
        try:
            portone = cls(program)
            portone._ask("reset", {"options": dict(options)})
        except BaseException:
            program.kill()
            raise
        return portone

    @property
    def control_url(self) -> str:
        """Where it is asked for the truth."""
        return f"{self.url}/_control"

    def truth(self) -> Truth:
        """What has really been charged up to now. Raises DemoFailedError."""
        said = self._ask("truth")
        return Truth(
            payments=tuple(Payment(one["paymentId"], one["amount"], one["pgTxId"]) for one in said["charges"]),
            charged_twice=tuple(sorted(said["paid_more_than_once"])),
            violations=said["violations_count"],
            scheduled=frozenset(one["paymentId"] for one in said["charges"] if "scheduleId" in one),
            schedules=tuple(
                Schedule(one["scheduleId"], one["paymentId"], one["amount"], one["status"]) for one in said["schedules"]
            ),
            webhooks=said["webhooks"],
        )

    def cut_off_bookings(self, billing_keys: str, *, times: int, booked: bool) -> None:
        """Drop the connection of so many bookings whose billing keys begin so, once they are made or before."""
        behaviour = "drop-charged" if booked else "drop-uncharged"
        self._ask(
            "scripts", {"behaviour": behaviour, "times": times, "billing_key_prefix": billing_keys, "on": "schedule"}
        )

    def send_webhooks_to(self, urls: Sequence[str]) -> None:
        """From now on webhooks go there; to nobody, where there is none."""
        self._ask("webhooks", {"urls": list(urls)})

    def _ask(self, what: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the address is our own simulator's
            f"{self.control_url}/{what}", data=content, headers={"Content-Type": "application/json"}
        )
        try:
            with _DIRECT.open(request, timeout=_ANSWER_SECONDS_MAX) as answer:
                said: Mapping[str, Any] = json.loads(answer.read())
        except OSError as error:
            self.program.require_running()
            raise DemoFailedError(f"the simulator did not answer {what}: {error}") from None
        return said
