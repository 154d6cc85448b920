"""What comes to the twin and to Postgres from outside the workers: hints, a person's orders, a watcher's questions."""

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from billing_worker.store import control, cycles, deployment, inbox, subscriptions
from tests.simulation.store_twin_calls import LEAD, Calls, exceptions, undated
from tests.simulation.store_twin_strategies import limits, reasons, stores


class OrdersAndHints(Calls):
    """Rules of the state machine that both sides must answer alike."""

    @rule(
        names=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True),
        numbers=st.lists(st.integers(0, 20), min_size=4, max_size=4),
        reads=st.booleans(),
    )
    def hints_come(self, names: list[int], numbers: list[int], reads: bool) -> None:
        self.changed = True
        hints = [self.hint(name, number) for name, number in zip(names, numbers, strict=False)]
        self.both.ask(lambda to, _: inbox.keep_hints(to, hints))
        if reads:
            self.both.ask(lambda to, _: inbox.read_hints(to, now=self.now, limit=100), normal=_as_set)

    @rule(limit=limits, days=st.sampled_from([-1, 0, 1]))
    def hints_are_read_and_forgotten(self, limit: int, days: int) -> None:
        self.changed = True
        waits = [hint["received_at"] for hint in self.rows("webhook_inbox") if hint["read_at"] is None]
        uncut = self.uncut(waits, limit)
        self.both.ask(lambda to, _: inbox.read_hints(to, now=self.now, limit=uncut), normal=_as_set)
        self.both.ask(lambda to, _: inbox.unread_hints(to, limit=3))
        before = self.now + timedelta(days=days)
        self.both.ask(lambda to, _: inbox.forget_hints(to, before=before, limit=1000))

    def hint(self, name: int, number: int) -> inbox.Hint:
        at = self.now - timedelta(minutes=name)
        kind = "" if name == 20 else "Transaction.Paid"
        return inbox.Hint(f"hint-{name}", kind, self.payment_id(number), None, None, None, at, at)

    @rule(number=st.integers(0, 20), act=st.sampled_from(["skip", "retry", "accept", "hold"]), reason=reasons)
    def order_about_a_cycle(self, number: int, act: str, reason: str) -> None:
        self.changed = True
        self.order(self.payment_id(number), act, reason)

    # A watcher.

    @rule(store=stores, name=st.sampled_from(["sending", "other"]), value=st.sampled_from(["on", "halted", "off"]))
    def what_a_watcher_asks(self, store: str, name: str, value: str) -> None:
        self.changed = True
        self.both.ask(lambda to, _: subscriptions.shards_to_renew(to, self.now, lead_until=self.now + LEAD))
        self.ask_for_due_shards(store)
        self.ask_for_shards_to_look()
        self.both.ask(lambda to, _: cycles.backlog(to, self.now))
        self.both.ask(lambda to, _: cycles.list_exceptions(to, 100), normal=exceptions)
        self.both.ask(lambda to, _: control.other_stores(to, store), normal=sorted)
        self.both.ask(lambda to, _: to.fetch("write_control", name, value, "so ordered", "kim"))
        self.both.ask(lambda to, _: control.sending_order(to), normal=undated)

    @rule(
        version=st.integers(0, 3),
        name=st.sampled_from(["eu-1", "no blanks"]),
        margin=st.sampled_from([None, timedelta(minutes=10)]),
    )
    def record_whose_it_is(self, version: int, name: str, margin: timedelta | None) -> None:
        self.changed = True
        row = (version, name, True, 7, 16_384, 1, margin, "kim", "moved")
        self.both.ask(lambda to, _: to.fetch("record_deployment", *row), normal=len)
        self.both.ask(lambda to, _: deployment.read_deployment(to), normal=lambda known: known and known.version)
        self.both.ask(lambda to, _: deployment.has_cycles(to))


def _as_set(read: list[inbox.ReadHint]) -> object:
    return set(read)
