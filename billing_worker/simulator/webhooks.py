"""Webhooks: who is told what, when it is told again, and what goes wrong on the way.

Telling costs the teller one place in a queue. A full queue loses what comes, and counts it. Sending is for a few
senders; waiting for the next send is the agenda's, so a moved clock shortens it.
"""

import asyncio
import itertools
import random
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from billing_worker.simulator.agenda import Agenda
from billing_worker.simulator.bank import Happening, What, later
from billing_worker.simulator.clock import SimulatedClock
from billing_worker.simulator.courier import Courier
from billing_worker.simulator.notices import WAITS_MINUTES, Forgery, News, Notice, Reply, Sent, news_of, signed, written
from billing_worker.simulator.options import SimulatorOptions

RESENDS_MAX = 10  # by hand, of one webhook; PortOne has a cap and does not publish it
SENDERS = 32
AGED_SECONDS = 900  # of a replay: well past the five minutes a receiver may allow
URLS_MAX = 10  # of one request's noticeUrls

Job = Callable[[], Awaitable[None]]


class Mishap(StrEnum):
    """What can befall a notice on its way, beside the forgeries that come with it."""

    LOSE = "lose"
    DUPLICATE = "duplicate"
    DELAY = "delay"


@dataclass(slots=True)
class WebhookScript:
    """A mishap or a forgery queued for the next notices that match. An empty matcher matches everything."""

    what: Mishap | Forgery
    remaining: int
    kind: str = ""
    payment_id: str = ""
    seconds: float | None = None

    def matches(self, news: News) -> bool:
        """Whether this news is waited for."""
        return self.kind in ("", news.kind) and self.payment_id in ("", news.payment_id)


class Webhooks:
    """Every webhook of one world."""

    def __init__(
        self, options: Callable[[], SimulatorOptions], clock: SimulatedClock, agenda: Agenda, courier: Courier
    ) -> None:
        self._options, self._clock, self._agenda, self._courier = options, clock, agenda, courier
        self._chance = random.Random(options().seed)  # noqa: S311 - mishaps, not a secret
        self._queue: asyncio.Queue[Job] = asyncio.Queue(options().webhook_queue_size)
        self._senders: list[asyncio.Task[None]] = []
        self._serial = itertools.count(1)
        self._run = secrets.token_hex(5)
        self.scripts: list[WebhookScript] = []
        self.log: OrderedDict[str, Notice] = OrderedDict()
        self.of_payments: dict[str, list[Notice]] = {}
        self.counts: Counter[str] = Counter()

    def happened(self, happening: Happening) -> None:
        """Tell of what happened to a payment."""
        if happening.silent or not (self._options().webhook_urls or happening.transaction.order.notice_urls):
            return
        # Its words are chosen now, because the payment may stand differently by the time they are sent.
        self.tell(news_of(happening, self._options().store_id))

    def tell(self, news: News) -> None:
        """Tell some news to whoever is to hear it."""
        if self._options().webhook_urls or news.urls:
            self._put(partial(self._announce, news))

    def forge(self, news: News, forgery: Forgery, url: str) -> Notice:
        """Send what PortOne would never send."""
        notice = self._noted(news, url, forgery)
        self._put(partial(self._send, notice))
        return notice

    def resend(self, notice: Notice) -> None:
        """Send again by hand."""
        notice.resends += 1
        notice.trigger = "MANUAL"
        self._put(partial(self._send, notice, last=True))

    async def until_idle(self, seconds: float) -> bool:
        """Wait until nothing is queued or on its way; what waits for its next time counts as neither."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Send no more. What is on its way is cut off."""
        for sender in self._senders:
            sender.cancel()

    async def stopped(self) -> None:
        """Wait for the senders to have ended."""
        await asyncio.gather(*self._senders, return_exceptions=True)

    @property
    def queued(self) -> int:
        """How many jobs wait for a sender."""
        return self._queue.qsize()

    def _put(self, job: Job) -> None:
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            self.counts["overflowed"] += 1
            return
        if len(self._senders) < SENDERS:
            self._senders.append(asyncio.get_running_loop().create_task(self._sender()))

    async def _sender(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                await job()
            finally:
                self._queue.task_done()

    async def _announce(self, news: News) -> None:
        self.counts["told"] += 1
        script = next((one for one in self.scripts if one.matches(news)), None)
        if script is not None:
            script.remaining -= 1
            if script.remaining <= 0:
                self.scripts.remove(script)
        for url in news.urls[:URLS_MAX] or self._options().webhook_urls:
            befallen = {script.what} if script is not None else self._by_chance()
            for forgery in [one for one in befallen if isinstance(one, Forgery)]:
                self.forge(_forged(news, forgery), forgery, url)
            await self._on_its_way(self._noted(news, url), befallen, script.seconds if script else None)

    def _by_chance(self) -> set[Mishap | Forgery]:
        options, chance = self._options(), self._chance.random
        shares: dict[Mishap | Forgery, float] = {
            Mishap.LOSE: options.webhook_loss,
            Mishap.DUPLICATE: options.webhook_duplication,
            Mishap.DELAY: options.webhook_delay,
            self._chance.choice(list(Forgery)): options.webhook_forgery,
        }
        return {what for what, share in shares.items() if share and chance() < share}

    async def _on_its_way(self, notice: Notice, befallen: set[Mishap | Forgery], seconds: float | None) -> None:
        if Mishap.LOSE in befallen:
            notice.lost = True
            self.counts["lost"] += 1
            return
        if Mishap.DUPLICATE in befallen:
            self.counts["duplicated"] += 1
            self._put(partial(self._send, notice, last=True))
        if Mishap.DELAY in befallen:
            self.counts["delayed"] += 1
            if seconds is None:
                seconds = self._chance.uniform(0.0, self._options().webhook_delay_seconds)
            self._put_later(notice, seconds)
            return
        await self._send(notice)

    def _put_later(self, notice: Notice, seconds: float) -> None:
        notice.next_at = later(self._clock.now(), seconds)
        self._agenda.put(notice.next_at, partial(self._put_again, notice))

    def _put_again(self, notice: Notice, _at: datetime) -> None:
        if notice.sent is not Sent.SUCCEEDED:  # it may have been sent by hand meanwhile
            self._put(partial(self._send, notice))

    async def _send(self, notice: Notice, *, last: bool = False) -> None:
        """One send; a failed one plans the next, unless it is a copy or one by hand."""
        options = self._options()
        notice.executions += 1
        notice.sent_at, notice.next_at = self._clock.now(), None
        stamped_at = datetime.now(UTC) if options.webhook_clock == "real" else notice.sent_at
        if notice.forgery is Forgery.OLD_TIMESTAMP:
            stamped_at -= timedelta(seconds=AGED_SECONDS)
        headers = signed(notice, options.webhook_secrets, stamped_at)
        self.counts["sends"] += 1
        received = await self._courier.post(
            notice.url, notice.body, headers, timeout_seconds=options.webhook_timeout_seconds
        )
        if received is not None:
            notice.reply = Reply(received.status, received.headers, received.body, self._clock.now())
        if received is not None and 200 <= received.status < 300:
            notice.sent = Sent.SUCCEEDED
            self.counts["succeeded"] += 1
            return
        self.counts["failed_sends"] += 1
        if notice.sent is not Sent.SUCCEEDED:
            notice.sent = Sent.FAILED_UNEXPECTED_ERROR if received is None else Sent.FAILED_NOT_OK_RESPONSE
        if last or notice.forgery is not None:
            return
        if notice.executions >= len(WAITS_MINUTES):
            self.counts["given_up"] += 1
            return
        longest = WAITS_MINUTES[notice.executions] * options.webhook_minute_seconds
        self._put_later(notice, self._chance.uniform(0.0, longest))

    def _noted(self, news: News, url: str, forgery: Forgery | None = None) -> Notice:
        body, content_type = written(news, self._options())
        webhook_id = f"webhook-{self._run}{next(self._serial):08d}"
        notice = Notice(webhook_id, url, news, body, content_type, self._clock.now(), forgery)
        notice.trigger = _TRIGGERS.get(news.kind)
        self.log[webhook_id] = notice
        if forgery is not None:
            self.counts["forged"] += 1
        elif news.payment_id:
            self.of_payments.setdefault(news.payment_id, []).append(notice)
        if len(self.log) > self._options().webhook_log_size:
            self._forget()
        return notice

    def _forget(self) -> None:
        _, oldest = self.log.popitem(last=False)
        known = self.of_payments.get(oldest.news.payment_id)
        if known is not None and oldest in known:
            known.remove(oldest)
            if not known:
                del self.of_payments[oldest.news.payment_id]


_TRIGGERS = {
    f"Transaction.{What.DISPUTE_CREATED}": "DISPUTE_CREATED",
    f"Transaction.{What.DISPUTE_RESOLVED}": "DISPUTE_RESOLVED",
}


def _forged(news: News, forgery: Forgery) -> News:
    """News as a forger tells it: that it was paid; or as a newer PortOne might, of a type unheard of."""
    if forgery is Forgery.UNKNOWN_TYPE:
        return replace(news, kind="Transaction.Imagined")
    is_lie = forgery is not Forgery.OLD_TIMESTAMP and news.kind.startswith("Transaction.")
    return replace(news, kind=f"Transaction.{What.PAID}") if is_lie else news
