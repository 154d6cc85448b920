"""The demo, played whole as a person starts it: its figures, its verdict, and that nothing of it is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import pytest

from billing_worker.billing.channels import KPN
from billing_worker.billing.intake import IntakeDefaults, read_rows
from billing_worker.demo import verdict
from billing_worker.demo.bookings import Booking
from billing_worker.demo.pace import API_SECRET, STORE_ID, Pace
from billing_worker.demo.pg_child import poll
from billing_worker.demo.practice import Payment, Schedule, Truth
from billing_worker.demo.sample import make_sample, where_it_is_day
from billing_worker.demo.stories import STORIES
from billing_worker.settings import load_settings

PAID = Payment("rb1a", 9_900, "pg-1")
OTHER = Payment("rb1b", 4_900, "pg-2")
ENDS = [("sub-1", "paid", 9_900), ("sub-2", "given_up", 4_900)]
DUE = frozenset({"sub-1", "sub-2"})

DEMO_SECONDS_MAX = 110


def truth_of_schedules(*schedules: Schedule) -> Truth:
    return Truth(payments=(), charged_twice=(), violations=0, schedules=schedules)


def schedule_that(status: str, schedule_id: str = "schedule-1") -> Schedule:
    return Schedule(schedule_id, "rb1a", 9_900, status)


def booking_that(status: str, schedule_id: str | None = "schedule-1", *, revoke_reason: str | None = None) -> Booking:
    return Booking(schedule_id, "rb1a", 9_900, status, revoke_reason)


@dataclass
class Demo:
    """A demo that was started, with a temporary directory of its own."""

    popen: subprocess.Popen[str]
    place: Path

    def programs(self, command: str) -> list[psutil.Process]:
        """Its programs that run this command of billing-worker."""
        children = psutil.Process(self.popen.pid).children(recursive=True)
        return [child for child in children if command_of(child) == command]

    def wait_for_program(self, command: str) -> psutil.Process:
        assert poll(lambda: bool(self.programs(command)), 60)
        return self.programs(command)[0]

    def finish(self) -> tuple[int, str, str]:
        """Its exit code, what it said on stdout, and what on stderr."""
        stdout, stderr = self.popen.communicate(timeout=DEMO_SECONDS_MAX)
        return self.popen.returncode, stdout, stderr


def command_of(program: psutil.Process) -> str:
    """What follows billing_worker on the command line; empty for other programs, such as the servers of Postgres."""
    try:
        words = program.cmdline()
    except psutil.NoSuchProcess:
        return ""
    # While it is being launched, the launcher's path stands before it.
    is_ours = words[1:3] == ["-m", "billing_worker"] and len(words) > 3
    return words[3] if is_ours else ""


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory that the server's user can enter, which pytest's own cannot be when root runs it."""
    directory = Path(tempfile.mkdtemp(prefix="bw-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def demo(place: Path) -> Iterator[Demo]:
    """A small demo that runs, with settings in its environment that must not reach its workers."""
    command = [sys.executable, "-m", "billing_worker", "demo", "--json", "--subscriptions", "120"]
    env = {**os.environ, "TMPDIR": str(place), "BILLING_DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:1/real"}
    popen = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with popen:
        yield Demo(popen, place)
        popen.kill()


@pytest.mark.slow
def test_portone_and_the_ledger_agree_after_a_worker_was_killed(demo: Demo) -> None:
    sample = make_sample(120, date(2026, 3, 1))

    code, stdout, stderr = demo.finish()

    said = json.loads(stdout)
    assert (code, said["agrees"]) == (0, True), stderr
    wrong = ("paid_twice", "lost", "invented", "missed", "too_early", "chain_faults", "contract_violations")
    of_bookings = ("booked_otherwise", "left_scheduled")
    assert {name: said[name] for name in (*wrong, *of_bookings)} == dict.fromkeys((*wrong, *of_bookings), 0)
    assert said["due"] == len(sample.due_keys)
    assert said["outcomes"] == {"paid": 99, "given_up": 10, "held": 0, "skipped": 1}
    assert (said["kills"], said["worker_exits"]) == (1, [0, 0])
    assert said["open_at_kill"] > 0
    assert said["resolved_by_asking"] > 0
    assert said["bookings"]["paid"] == said["portone"]["by_schedule"] > 0
    assert min(said["bookings"][why] for why in ("declined", "revoked_for_price", "revoked_for_cancellation")) > 0
    assert min(said["learnt"]["bookings"]["by_webhook"], said["learnt"]["bookings"]["by_asking"]) > 0
    assert said["webhooks"]["lost"] > 0
    assert said["won_collected"] == said["portone"]["won"] > 0
    assert said["ledger_entries"] > said["due"]
    assert said["elapsed_seconds"] < 60
    assert list(demo.place.iterdir()) == []


@pytest.mark.slow
def test_a_charge_and_a_booking_behind_the_worker_s_back_are_found_and_the_logs_are_kept(demo: Demo) -> None:
    url = demo.wait_for_program("run").environ()["BILLING_PORTONE_BASE_URL"]

    charge_behind_the_worker_s_back(url, payment_id="tampered0000000000000000000001", amount=777)
    book_behind_the_worker_s_back(url, payment_id="tampered0000000000000000000002", amount=777)
    code, stdout, stderr = demo.finish()

    said = json.loads(stdout)
    assert code == 1
    assert (said["agrees"], said["lost"], said["paid_twice"], said["missed"]) == (False, 1, 0, 0)
    assert said["differences"]["lost"][0]["payment_id"] == "tampered0000000000000000000001"
    assert [row.split()[1] for row in said["differences"]["left_scheduled"]] == ["tampered0000000000000000000002"]
    assert said["portone"]["won"] - said["ledger"]["won"] == 777
    kept = next(path for path in demo.place.iterdir() if str(path) in stderr)
    assert {"worker-1.log", "worker-2.log", "worker-3.log", "simulator.log", "postgres.log"} <= names_in(kept)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(demo: Demo, number: signal.Signals) -> None:
    demo.wait_for_program("run")
    children = psutil.Process(demo.popen.pid).children(recursive=True)

    demo.popen.send_signal(number)
    code, stdout, _ = demo.finish()

    assert (code, stdout) == (130, "")
    assert [child for child in children if child.is_running()] == []
    assert list(demo.place.iterdir()) == []


@pytest.mark.slow
def test_a_step_that_fails_is_named_and_everything_is_taken_down(demo: Demo) -> None:
    demo.wait_for_program("run")
    children = psutil.Process(demo.popen.pid).children(recursive=True)

    demo.wait_for_program("simulator").kill()
    code, stdout, stderr = demo.finish()

    assert (code, stdout) == (3, "")
    assert "simulator ended by itself with exit code -9" in stderr
    assert [child for child in children if child.is_running()] == []
    kept = next(path for path in demo.place.iterdir() if str(path) in stderr)
    assert {"worker-1.log", "simulator.log", "postgres.log"} <= names_in(kept)


def test_every_line_of_the_sample_is_accepted_and_its_shares_are_the_foretold_ones() -> None:
    sample = make_sample(1000, date(2026, 3, 31))

    intake = read_rows(sample.csv_text(), profile=KPN, defaults=IntakeDefaults())

    assert intake.faults == ()
    assert len(intake.plans) == 1000
    for story in STORIES:
        assert len(sample.keys_of(story)) == sum(share for _, share in story.per_mille)


@pytest.mark.parametrize("count", [1, 7, 120, 2_500])
def test_a_sample_of_any_size_is_whole_and_always_the_same(count: int) -> None:
    sample = make_sample(count, date(2026, 3, 31))

    again = make_sample(count, date(2026, 3, 31))

    assert len(sample.subscribers) == count
    assert sample == again


@pytest.mark.parametrize("due", [0, 1, 111, 920, 500_000])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_the_scaled_settings_keep_every_relation(due: int, workers: int) -> None:
    settings = Pace(due=due, workers=workers).worker_settings()

    loaded = load_settings(
        {**settings, "BILLING_DATABASE_URL": "postgresql://x", "BILLING_PORTONE_BASE_URL": "http://127.0.0.1:1"}
    )

    assert not loaded.portone_live


def test_two_sides_with_the_same_rows_differ_in_nothing() -> None:
    found = verdict.compare(truth_of(PAID, OTHER), [OTHER, PAID], ENDS, due_keys=DUE)

    assert found.are_none


def test_a_charge_that_the_ledger_lacks_is_lost() -> None:
    found = verdict.compare(truth_of(PAID, OTHER), [PAID], ENDS, due_keys=DUE)

    assert (found.lost, found.invented) == ((OTHER,), ())
    assert not found.are_none


def test_another_amount_or_transaction_is_both_lost_and_invented() -> None:
    recorded = Payment(PAID.payment_id, 9_901, PAID.pg_tx_id)

    found = verdict.compare(truth_of(PAID), [recorded], ENDS, due_keys=DUE)

    assert (found.lost, found.invented) == ((PAID,), (recorded,))


def test_two_successes_or_two_entries_of_one_payment_are_paid_twice() -> None:
    charged = verdict.compare(truth_of(PAID, PAID, charged_twice=("rb1a",)), [PAID], ENDS, due_keys=DUE)
    entered = verdict.compare(truth_of(PAID), [PAID, PAID], ENDS, due_keys=DUE)

    assert charged.paid_twice == entered.paid_twice == ("rb1a",)


@pytest.mark.parametrize("ends", [[("sub-1", "paid", 1)], [("sub-1", "paid", 1), ("sub-2", "collecting", 1)]])
def test_a_due_period_without_an_end_is_missed(ends: list[tuple[str, str, int]]) -> None:
    found = verdict.compare(truth_of(PAID), [PAID], ends, due_keys=DUE)

    assert found.missed == ("sub-2",)


def test_a_period_that_was_not_due_must_not_be_opened() -> None:
    found = verdict.compare(truth_of(PAID), [PAID], [*ENDS, ("sub-3", "paid", 1)], due_keys=DUE)

    assert found.too_early == ("sub-3",)


def test_schedules_that_ended_as_the_ledger_says_differ_in_nothing() -> None:
    ends = [("SUCCEEDED", "paid"), ("FAILED", "declined"), ("FAILED", "paid"), ("REVOKED", "revoked")]
    schedules = [schedule_that(theirs, f"schedule-{n}") for n, (theirs, _) in enumerate(ends)]
    booked = [booking_that(ours, f"schedule-{n}") for n, (_, ours) in enumerate(ends)]

    found = verdict.compare(truth_of_schedules(*schedules), [], ENDS, due_keys=DUE, booked=booked)

    assert found.are_none


def test_a_booking_whose_name_was_never_learnt_is_known_by_its_payment() -> None:
    truth = truth_of_schedules(schedule_that("SUCCEEDED"))

    found = verdict.compare(truth, [], ENDS, due_keys=DUE, booked=[booking_that("paid", None)])

    assert found.are_none


@pytest.mark.parametrize(
    ("theirs", "ours"), [("SUCCEEDED", "revoked"), ("SUCCEEDED", "open"), ("FAILED", "open"), ("REVOKED", "paid")]
)
def test_a_schedule_that_ended_otherwise_than_its_booking_is_found(theirs: str, ours: str) -> None:
    truth = truth_of_schedules(schedule_that(theirs))

    found = verdict.compare(truth, [], ENDS, due_keys=DUE, booked=[booking_that(ours)])

    assert len(found.booked_otherwise) == 1


def test_a_schedule_of_another_amount_is_found() -> None:
    truth = truth_of_schedules(Schedule("schedule-1", "rb1a", 9_901, "SUCCEEDED"))

    found = verdict.compare(truth, [], ENDS, due_keys=DUE, booked=[booking_that("paid")])

    assert len(found.booked_otherwise) == 1


def test_a_schedule_that_fired_unknown_to_the_ledger_and_a_booking_unknown_to_portone_are_found() -> None:
    unknown_here = verdict.compare(truth_of_schedules(schedule_that("SUCCEEDED")), [], ENDS, due_keys=DUE)
    unknown_there = verdict.compare(truth_of_schedules(), [], ENDS, due_keys=DUE, booked=[booking_that("paid")])

    assert len(unknown_here.booked_otherwise) == len(unknown_there.booked_otherwise) == 1


@pytest.mark.parametrize(
    "ours", [booking_that("revoked"), booking_that("open", revoke_reason="price"), booking_that("paid")]
)
def test_a_schedule_that_portone_still_has_and_we_do_not_want_is_left(ours: Booking) -> None:
    truth = truth_of_schedules(schedule_that("SCHEDULED"))

    found = verdict.compare(truth, [], ENDS, due_keys=DUE, booked=[ours])

    assert len(found.left_scheduled) == 1


def test_a_schedule_that_both_wait_for_is_not_left() -> None:
    truth = truth_of_schedules(schedule_that("SCHEDULED"))

    found = verdict.compare(truth, [], ENDS, due_keys=DUE, booked=[booking_that("open")])

    assert found.are_none


def test_a_third_of_what_is_due_is_booked_ahead_and_due_within_the_run() -> None:
    sample = make_sample(1000, date(2026, 3, 31))

    shares = sample.due_shares

    assert len(shares) == 300
    assert shares.keys() <= sample.due_keys
    assert all(0 <= share <= 1 for share in shares.values())


@pytest.mark.parametrize("hour", range(24))
def test_a_run_ends_on_the_day_on_which_it_starts(hour: int) -> None:
    now = datetime(2026, 3, 31, hour, 59, tzinfo=UTC)

    zone, today = where_it_is_day(now)

    assert {(now + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone)).date() for minutes in (0, 10)} == {today}


def truth_of(*payments: Payment, charged_twice: tuple[str, ...] = ()) -> Truth:
    return Truth(payments=payments, charged_twice=charged_twice, violations=0)


def charge_behind_the_worker_s_back(url: str, *, payment_id: str, amount: int) -> None:
    post(f"{url}/payments/{payment_id}/billing-key", payment_of(amount))


def book_behind_the_worker_s_back(url: str, *, payment_id: str, amount: int) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    post(f"{url}/payments/{payment_id}/schedule", {"payment": payment_of(amount), "timeToPay": tomorrow.isoformat()})


def payment_of(amount: int) -> dict[str, object]:
    return {
        "storeId": STORE_ID,
        "billingKey": "bk-ok-behind",
        "orderName": "몰래",
        "customer": {"id": "someone", "name": {"full": "홍길동"}},
        "amount": {"total": amount},
        "currency": "KRW",
    }


def post(url: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"PortOne {API_SECRET}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert answer.status == 200


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}
