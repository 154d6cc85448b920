"""What histories are drawn from: few values, so that they meet."""

from datetime import date, time

from hypothesis import strategies as st

from billing_worker.billing.charging import Revoked, Verdict, Voided
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Declined, Paid, RefusalScope, Refused
from billing_worker.billing.periods import PeriodUnit
from billing_worker.billing.states import Mode, Source
from tests.builders import NOON, STORE_ID, a_cadence, a_plan
from tests.simulation.store_twin_calls import KEYS, SHARDS

STORES = (STORE_ID, STORE_ID, STORE_ID, "store-other")

shards = st.sampled_from(SHARDS)
keys = st.sampled_from(KEYS)
# Which of what was given out, counted from the newest.
some = st.one_of(st.integers(0, 3), st.integers(0, 30))
few = st.lists(some, min_size=1, max_size=4)
two = st.tuples(some, some)
stores = st.sampled_from(STORES)
limits = st.integers(1, 4)
amounts = st.sampled_from([500, 1000])
modes = st.sampled_from([Mode.CHARGE, Mode.SCHEDULE])
reasons = st.sampled_from(["wrong amount", "asked by phone"])
transaction_ids = st.sampled_from([None, "tx-1", "tx-2", "tx-3"])
plans = st.builds(
    lambda key, unit, day, amount, first, mode: a_plan(
        key,
        cadence=a_cadence(unit, anchor_on=date(2026, 2, day), charge_at=time(10, KEYS.index(key))),
        price=Money(amount, "KRW"),
        first_cycle_number=first,
        mode=mode,
    ),
    st.sampled_from(KEYS),
    st.sampled_from([PeriodUnit.DAY, PeriodUnit.WEEK, PeriodUnit.MONTH]),
    st.integers(20, 28),
    st.sampled_from([1000, 9900]),
    st.integers(1, 2),
    modes,
)
paid = st.builds(
    lambda number, tx, given_back: Paid(f"pg-{number}", NOON, tx, given_back),
    st.integers(1, 6),
    transaction_ids,
    st.sampled_from([False, False, True]),
)
unpaid = st.one_of(
    st.builds(Declined, st.sampled_from(["51", "41"]), st.just("한도초과"), transaction_ids),
    st.sampled_from(
        [
            Refused("BILLING_KEY_NOT_FOUND", "no such key", RefusalScope.CARD),
            Refused("INVALID_REQUEST", "orderName", RefusalScope.CYCLE),
            Refused("UNAUTHORIZED", "who?", RefusalScope.CHANNEL),
            Voided(),
            Revoked(),
        ]
    ),
)
verdicts: st.SearchStrategy[Verdict] = st.one_of(paid, unpaid)
sources = st.sampled_from([Source.ANSWER, Source.LOOK])

# A column of add_subscriptions and what Postgres does not take there.
BROKEN_COLUMNS: list[tuple[int, object]] = [
    (0, 64), (1, ""), (1, None), (1, "k" * 121), (2, None), (5, None), (6, "no blanks"), (6, ""), (7, ""),
    (7, "x" * 257), (8, 0), (8, 1_000_000_001), (8, None), (9, "later"), (9, None), (10, "EUR"), (11, "fortnight"),
    (12, 0), (12, 367), (13, None), (14, "Mars/Phobos"), (15, None), (16, 0), (16, None), (17, None),
]  # fmt: skip
