"""Which settings contradict each other: leases, windows and waits that must outlast one another, and secrets that stand
in a setting that is shown.

Every relation is asserted here and nowhere else, before anything starts. A relation names all settings that take part
in it, so that one which is wrong by itself is not blamed twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from billing_worker.settings.fields import (
    KEY_MEMORY_SECONDS,
    PORTONE_READ_SECONDS_MIN,
    VOID_AFTER_SECONDS_MIN,
    Settings,
)
from billing_worker.settings.problems import Problem, described, env_name, written
from billing_worker.settings.secrecy import misplaced_secrets

_SEND = ("send_window_seconds", "portone_connect_seconds", "portone_read_seconds")
_CALL = (*_SEND, "portone_look_read_seconds", "database_command_timeout_seconds")

# After an answer that says too little the payment is looked at, and then its single tries.
_LOOKS_AFTER_A_CHARGE = 2


def relation_problems(settings: Settings, *, ignored: frozenset[str] = frozenset()) -> list[Problem]:
    """The settings that are right by themselves and wrong beside each other.

    A relation in which an ignored one takes part is left out.
    """
    return [
        Problem(env_name(rule.fields[0]), _shape(getattr(settings, rule.fields[0])), rule.reason, rule.advice())
        for rule in _relations(settings)
        if rule.broken and not ignored.intersection(rule.fields)
    ]


@dataclass(frozen=True, slots=True)
class _Relation:
    """One relation: the settings in it, the one to look at first, whether it is broken, why it matters, what to do."""

    fields: tuple[str, ...]
    broken: bool
    reason: str
    remedy: str

    def advice(self) -> str:
        others = ", ".join(env_name(field) for field in self.fields[1:])
        return f"{self.remedy} (it depends on {others})"


def _relations(given: Settings) -> Iterator[_Relation]:
    yield from _call_relations(given)
    yield from _key_relations(given)
    yield from _order_relations(given)
    yield from _schedule_relations(given)
    yield from _webhook_relations(given)
    yield from _secret_relations(given)


def _call_relations(given: Settings) -> Iterator[_Relation]:
    """What must outlast a call and the writing of its outcome."""
    settled_seconds = (
        _last_answer_seconds(given) + _LOOKS_AFTER_A_CHARGE * given.longest_look_seconds + given.longest_write_seconds
    )
    yield _Relation(
        ("portone_read_seconds", "portone_base_url"),
        given.portone_read_seconds < PORTONE_READ_SECONDS_MIN and not given.portone_is_loopback,
        "a charge can take a minute, and hanging up does not stop it",
        f"give at least {PORTONE_READ_SECONDS_MIN}, unless PortOne is a simulator on a loopback address",
    )
    yield _Relation(
        ("attempt_lease_seconds", *_CALL),
        given.attempt_lease_seconds <= settled_seconds,
        "two workers could work on one attempt: it must outlast the send window, a charge, two looks and the writes",
        f"give more than {written(settled_seconds)}",
    )
    yield _Relation(
        ("claim_lease_seconds", "database_command_timeout_seconds"),
        given.claim_lease_seconds <= given.longest_write_seconds,
        "the lease could lapse while the intent is being written",
        f"give more than {written(given.longest_write_seconds)}",
    )
    yield _Relation(
        ("shutdown_grace_seconds", *_CALL),
        given.shutdown_grace_seconds < settled_seconds,
        "a charge in flight may be sent again within its window, and could not be answered, looked at and written",
        f"give at least {written(settled_seconds)}",
    )


def _key_relations(given: Settings) -> Iterator[_Relation]:
    """What must stay within PortOne's memory of a key, and what must stay outside it."""
    last_seconds = given.resend_until_seconds + _last_answer_seconds(given) + given.clock_skew_max_seconds
    yield _Relation(
        ("resend_until_seconds", *_SEND, "clock_skew_max_seconds"),
        last_seconds >= KEY_MEMORY_SECONDS,
        "the last resend could reach PortOne when it has forgotten the key, and charge again",
        f"give less than {written(given.resend_until_seconds - last_seconds + KEY_MEMORY_SECONDS)}",
    )
    yield _Relation(
        ("void_after_seconds", "portone_base_url"),
        given.void_after_seconds < VOID_AFTER_SECONDS_MIN and not given.portone_is_loopback,
        "a payment may turn up late, and what is voided is tried again",
        f"give at least {VOID_AFTER_SECONDS_MIN}, unless PortOne is a simulator on a loopback address",
    )
    yield _Relation(
        ("void_after_seconds", "resend_until_seconds"),
        given.void_after_seconds <= given.resend_until_seconds,
        "an attempt could be voided while its bytes are still sent again",
        f"give more than {written(given.resend_until_seconds)}",
    )


def _order_relations(given: Settings) -> Iterator[_Relation]:
    """What must come before what."""
    sendable = given.portone_burst + int(given.send_window_seconds * given.portone_requests_per_second)
    yield _Relation(
        ("claim_batch_max", "portone_requests_per_second", "portone_burst", "send_window_seconds"),
        given.claim_batch_max > sendable,
        "the last charges of a batch would leave after the send window of their intents",
        f"give at most {sendable}",
    )
    yield _Relation(
        ("ask_first_seconds", "ask_widest_seconds"),
        given.ask_first_seconds > given.ask_widest_seconds,
        "the first interval between looks is wider than the widest",
        f"give at most {written(given.ask_widest_seconds)}",
    )
    yield _Relation(
        ("unresolved_warn_seconds", "unresolved_page_seconds"),
        given.unresolved_warn_seconds >= given.unresolved_page_seconds,
        "the warning would come after the page",
        f"give less than {written(given.unresolved_page_seconds)}",
    )


def _schedule_relations(given: Settings) -> Iterator[_Relation]:
    """What keeps a booking and a direct charge of the same cycle apart."""
    yield _Relation(
        ("schedule_near_seconds", *_SEND),
        given.schedule_near_seconds <= _last_answer_seconds(given),
        "a booking could still be on its way when its time has come",
        f"give more than {written(_last_answer_seconds(given))}",
    )
    yield _Relation(
        ("schedule_near_seconds", "schedule_lead_seconds"),
        given.schedule_near_seconds >= given.schedule_lead_seconds,
        "no cycle would ever be booked",
        f"give less than {written(given.schedule_lead_seconds)}",
    )
    yield _Relation(
        ("schedule_lost_after_seconds", "portone_connect_seconds", "portone_read_seconds"),
        given.schedule_lost_after_seconds <= given.longest_charge_seconds,
        "a charge that PortOne is making at that moment could be taken for lost, and the cycle charged beside it",
        f"give more than {written(given.longest_charge_seconds)}",
    )


def _webhook_relations(given: Settings) -> Iterator[_Relation]:
    """What an address for strangers needs."""
    yield _Relation(
        ("webhook_address", "webhook_secrets"),
        given.webhook_address is not None and not given.webhook_secrets.get_secret_value().strip(", "),
        "without a secret no webhook can be told from a forged one",
        "give the secrets of PortOne's console, or no address",
    )
    yield _Relation(
        ("webhook_address", "http_address"),
        given.webhook_address is not None and _same_place(given.webhook_address, given.http_address),
        "the metrics would stand beside what strangers can reach",
        "give an address of its own",
    )


def _secret_relations(given: Settings) -> Iterator[_Relation]:
    """No secret stands in a second setting: all but the secrets themselves are shown by commands and in the log."""
    for field, held_by in misplaced_secrets(given):
        yield _Relation(
            (field, held_by),
            True,
            f"the secret of {env_name(held_by)} stands in it, and must stand nowhere else",
            "give another value, and exchange the secret where this one was shown or logged",
        )


def _shape(value: object) -> str:
    """What may be said of a value: a number whole, of a text only its length, for it may hold a secret."""
    return described(value) if isinstance(value, str) else written(value)


def _same_place(one: str, other: str) -> bool:
    """Port 0 is a different port each time."""
    return one == other and not one.endswith(":0")


def _last_answer_seconds(given: Settings) -> float:
    """When the last send that an intent or a noted resend allows is over, counted from that intent."""
    return given.send_window_seconds + given.longest_charge_seconds
