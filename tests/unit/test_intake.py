"""A file of subscriptions: taken whole, or refused with every reason and no secret."""

import unicodedata
from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.channels import KPN, OTHER
from billing_worker.billing.columns import COLUMNS
from billing_worker.billing.csv_rows import CELL_CHARS_MAX, Fault, decoded, shape_of
from billing_worker.billing.intake import FAULTS_MAX, periods_past
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence, PeriodUnit, known_zones, nth_period
from billing_worker.billing.states import Mode
from tests.intake_rows import ROW, SECRET, csv_of, only_fault, plan_of, read


def test_a_row_becomes_a_plan_with_the_defaults_of_its_empty_cells() -> None:
    plan = plan_of()

    assert plan.billing_key.reveal() == SECRET
    assert plan.price == Money(9900, "KRW")
    assert plan.cadence == Cadence(PeriodUnit.MONTH, 1, date(2026, 1, 31), "Asia/Seoul", time(10, 0))
    assert plan.first_cycle_number == 1
    assert plan.mode is Mode.CHARGE
    assert plan.customer.name == "김하늘"
    assert plan.line == 2


def test_every_column_may_be_given() -> None:
    plan = plan_of(
        currency="KRW", period_unit="week", period_count="2", zone="UTC", charge_at="23:59", start_on="2026-02-01",
        mode="schedule",
    )  # fmt: skip

    assert plan.cadence == Cadence(PeriodUnit.WEEK, 2, date(2026, 1, 31), "UTC", time(23, 59))
    assert plan.first_cycle_number == 2
    assert plan.mode is Mode.SCHEDULE


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("amount", "10,000", "commas"),
        ("amount", "9900.0", "decimal point"),
        ("amount", "-1", "not positive"),
        ("amount", "0", "zero"),
        ("amount", "09900", "zero"),
        ("amount", "９９００", "full-width"),
        ("amount", "9" * 400, "too large"),
        ("amount", "1000000001", "between 1 and"),
        ("amount", "9900원", "no number"),
        ("amount", "1e4", "no number"),
        ("amount", "", "empty"),
        ("currency", "EUR", "must be one of KRW at KPN"),
        ("currency", "USD", "must be one of KRW at KPN"),
        ("currency", "krw", "must be one of"),
        ("period_unit", "fortnight", "must be one of day, week, month, year"),
        ("mode", "book", "must be one of charge, schedule"),
        ("mode", "Schedule", "must be one of charge, schedule"),
        ("period_count", "0", "zero"),
        ("period_count", "367", "between 1 and 366"),
        ("period_count", "1.5", "decimal point"),
        ("anchor_on", "2026-02-30", "no date in the calendar"),
        ("anchor_on", "2025-02-29", "no date in the calendar"),
        ("anchor_on", "0000-01-01", "no date in the calendar"),
        ("anchor_on", "1/31/2026", "YYYY-MM-DD"),
        ("anchor_on", "20260131", "YYYY-MM-DD"),
        ("anchor_on", "２０２６-01-31", "YYYY-MM-DD"),
        ("anchor_on", "1969-12-31", "before 1970"),
        ("anchor_on", "9999-12-31", "no whole period"),
        ("anchor_on", "", "empty"),
        ("start_on", "2026-01-30", "before anchor_on"),
        ("start_on", "9999-12-31", "no whole period"),
        ("zone", "Asia/Pyeongchang", "zone"),
        ("zone", "KST", "zone"),
        ("charge_at", "9:00", "HH:MM"),
        ("charge_at", "24:00", "HH:MM"),
        ("charge_at", "10:00:00", "HH:MM"),
        ("business_key", "", "empty"),
        ("business_key", "k" * 121, "at most 120"),
        ("business_key", " gym-0001", "space"),
        ("business_key", "gym\x000001", "U+0000"),
        ("business_key", "gym\n0001", "U+000A"),
        ("business_key", "gym\ufeff", "U+FEFF"),
        ("business_key", unicodedata.normalize("NFD", "회원"), "NFC"),
        ("business_key", "=1+1", "formula"),
        ("customer_id", "@SUM(A1)", "formula"),
        ("customer_name", "-김하늘", "formula"),
        ("customer_name", "", "empty"),
        ("customer_phone", "=010", "phone"),
        ("customer_phone", "공일공", "phone"),
        ("customer_email", "sky", "e-mail"),
        ("billing_key", "", "empty"),
        ("billing_key", "k" * 201, "1 to 200"),
        ("billing_key", "빌링키", "visible ASCII"),
        ("order_name", "가" * 86, "258 bytes"),
        ("order_name", "", "empty"),
        ("order_name", "x" * (CELL_CHARS_MAX + 1), "longer than 1000"),
    ],
)
def test_a_bad_cell_is_named_by_line_column_and_reason(column: str, cell: str, reason: str) -> None:
    fault = only_fault(csv_of(ROW | {"business_key": "fine"}, ROW | {column: cell}))

    assert (fault.line, fault.column) == (3, column)
    assert reason in fault.reason


def test_a_currency_and_an_order_name_are_judged_by_the_channel() -> None:
    in_dollars = csv_of(ROW | {"currency": "USD", "order_name": "Pro", "customer_name": ""})

    assert read(in_dollars, OTHER).plans[0].price == Money(9900, "USD")
    assert only_fault(csv_of(ROW | {"order_name": "가" * 14}), OTHER).reason.startswith("has 42 bytes")


def test_every_fault_of_every_row_is_told_at_once() -> None:
    intake = read(csv_of(ROW | {"amount": "1,0", "anchor_on": "no"}, ROW, ROW | {"amount": "x"}))

    assert [(fault.line, fault.column) for fault in intake.faults] == [
        (2, "amount"),
        (2, "anchor_on"),
        (3, "business_key"),
        (4, "amount"),
        (4, "business_key"),
    ]
    assert intake.plans == ()


def test_a_repeated_business_key_names_the_line_that_has_it() -> None:
    fault = only_fault(csv_of(ROW, ROW | {"business_key": "b"}, ROW))

    assert (fault.line, fault.column, fault.reason) == (4, "business_key", "stands on line 2 already")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "empty"),
        ("\ufeff", 1, "empty"),
        ("\n\n", 1, "empty"),
        (",".join(ROW), 1, "no rows"),
        (csv_of(ROW) + "gym-2,only,three\n", 3, "has 3 cells, and the header has 9"),
        (csv_of(ROW) + '"gym-2,never closed\n' * 3, 3, "cannot be read as CSV"),
        (csv_of(ROW) + '"gym"-2\n', 3, "cannot be read as CSV"),
        (csv_of(ROW) + '"' + "x" * 200_000 + '"\n', 3, "cannot be read as CSV"),
        (csv_of(ROW | {"price": "1"}), 1, "is no column"),
        (csv_of(ROW).replace("customer_email", "amount", 1), 1, "twice"),
        (csv_of({column: cell for column, cell in ROW.items() if column != "amount"}), 1, "missing"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(text: str, line: int, reason: str) -> None:
    fault = only_fault(text)

    assert fault.line == line
    assert reason in fault.reason


def test_columns_separated_otherwise_are_told_of() -> None:
    faults = read(csv_of(ROW).replace(",", ";")).faults

    assert "separated by commas" in faults[0].reason


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_write_is_read(mark: str, line_end: str) -> None:
    text = mark + csv_of(ROW, ROW | {"business_key": "b"}, line_end=line_end) + line_end

    assert [(plan.business_key, plan.line) for plan in read(text).plans] == [("gym-0001", 2), ("b", 3)]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    text = csv_of(ROW | {"order_name": "two\nlines"}, ROW | {"amount": "x", "business_key": "b"})

    assert [(fault.line, fault.column) for fault in read(text).faults] == [(2, "order_name"), (4, "amount")]


def test_no_more_faults_are_told_than_anybody_reads() -> None:
    row = "," * (len(ROW) - 1) + "\n"

    assert len(read(csv_of(ROW) + row * 5_000).faults) == FAULTS_MAX


def test_a_file_has_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_worker.billing.csv_rows.ROWS_MAX", 3)
    rows = [ROW | {"business_key": f"k{number}"} for number in range(6)]

    assert len(read(csv_of(*rows[:3])).plans) == 3
    assert only_fault(csv_of(*rows)) == Fault(5, "", "the file has more than 3 rows")


def test_a_korean_spreadsheet_that_is_no_utf8_is_told_how() -> None:
    # given
    text = csv_of(ROW)

    # when
    fault = decoded(text.encode("cp949"))

    # then
    assert decoded(text.encode()) == text
    assert isinstance(fault, Fault)
    assert (fault.line, "CSV UTF-8" in fault.reason) == (2, True)


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_a_key_in_the_wrong_column_is_never_quoted(column: str) -> None:
    """One column too few in a file, and a secret stands where another cell belongs."""
    swapped = ROW | {column: SECRET + "\t"}
    without_header = ",".join(ROW.values()) + "\n" + ",".join(ROW.values())

    for text in (csv_of(swapped), without_header, csv_of(ROW) + SECRET, csv_of(ROW) + f'"{SECRET}"x'):
        intake = read(text)
        assert intake.faults
        assert SECRET not in repr(intake)
        assert SECRET[:20] not in repr(intake)


def test_a_plan_shows_neither_the_key_nor_the_person() -> None:
    shown = repr(plan_of())

    for private in (SECRET, "김하늘", "010-1234-5678", "sky@example.com"):
        assert private not in shown
    assert "BillingKey(len=48)" in shown


def test_a_billing_key_is_masked_everywhere_and_equal_to_itself() -> None:
    key = BillingKey(SECRET)

    assert {repr(key), str(key), f"{key}", f"{key!r}", f"{key!s}"} == {"BillingKey(len=48)"}
    assert key == BillingKey(SECRET) != BillingKey(SECRET[:-1])
    for bad in ("", "x" * 201, "빌링키", "two words"):
        with pytest.raises(ValueError, match="billing key must") as caught:
            BillingKey(bad)
        assert not bad or bad not in str(caught.value)


def test_a_shape_keeps_the_signs_and_none_of_the_content() -> None:
    assert shape_of("10,000") == "99,999 (6 characters)"
    assert shape_of("-1.5원") == "-9.9가 (5 characters)"
    assert shape_of("９９") == "９９ (2 characters)"
    assert shape_of("") == "empty"
    assert shape_of("a\x00" + "b" * 40).startswith("a?aaa")


@pytest.mark.parametrize(
    ("start_on", "number"), [("", 1), ("2026-01-31", 1), ("2026-02-01", 2), ("2026-02-28", 2), ("2026-03-01", 3)]
)
def test_collection_begins_with_the_first_period_that_starts_then_or_later(start_on: str, number: int) -> None:
    assert plan_of(start_on=start_on).first_cycle_number == number


def test_an_old_base_is_taken_over_without_its_past() -> None:
    taken_over = plan_of(anchor_on="2020-01-31", start_on="2026-08-01")
    from_the_start = plan_of(anchor_on="2020-01-31")

    assert nth_period(taken_over.cadence, taken_over.first_cycle_number).start_on == date(2026, 8, 31)
    assert periods_past(taken_over, date(2026, 8, 31)) == 0
    assert periods_past(from_the_start, date(2026, 8, 1)) == 79
    assert periods_past(from_the_start, date(2019, 1, 1)) == 0


# Half of what is tried looks like a file: noise alone would never get past the header.
file_like = st.lists(
    st.lists(st.text(max_size=12) | st.sampled_from(["", *ROW.values()]), min_size=7, max_size=10), max_size=4
).map(lambda rows: csv_of(ROW) + "".join(",".join(row) + "\n" for row in rows))


@given(text=st.text(st.characters(exclude_categories=())) | file_like)
def test_no_text_raises_and_each_is_taken_whole_or_not_at_all(text: str) -> None:
    for profile in (KPN, OTHER):
        intake = read(text, profile)
        assert bool(intake.plans) is not bool(intake.faults)
        assert all(fault.line >= 1 and fault.reason for fault in intake.faults)


@given(column=st.sampled_from(sorted(COLUMNS)), cell=st.text(st.characters(exclude_categories=()), max_size=40))
def test_no_cell_raises(column: str, cell: str) -> None:
    intake = read(csv_of(ROW | {column: cell}))

    assert bool(intake.plans) is not bool(intake.faults)


words = st.text(st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=0x7F), min_size=1, max_size=30)
plans = st.builds(
    lambda **cells: cells,
    customer_id=words,
    customer_name=words | st.sampled_from(["김하늘", 'O\'Brien, "Bob"']),
    billing_key=st.text(st.characters(min_codepoint=0x30, max_codepoint=0x7E), min_size=1, max_size=200),
    order_name=words,
    amount=st.integers(1, 10**9),
    period_unit=st.sampled_from(PeriodUnit),
    period_count=st.integers(1, 366),
    anchor_on=st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    zone=st.sampled_from(sorted(known_zones())),
    charge_at=st.times().map(lambda at: at.replace(second=0, microsecond=0, fold=0)),
).filter(lambda cells: not cells["billing_key"].startswith(("=", "@")))


@given(cells=st.lists(plans, min_size=1, max_size=5))
def test_a_sound_file_comes_through_as_it_was_written(cells: list[dict[str, object]]) -> None:
    # given
    rows = [
        {"business_key": f"key-{number}"} | {column: str(cell) for column, cell in row.items()}
        for number, row in enumerate(cells)
    ]
    for row in rows:
        row["charge_at"] = row["charge_at"][:5]

    # when
    intake = read(csv_of(*rows))

    # then
    assert intake.faults == ()
    for number, (row, plan) in enumerate(zip(cells, intake.plans, strict=True)):
        cadence = Cadence(
            row["period_unit"],
            row["period_count"],
            row["anchor_on"],
            row["zone"],
            row["charge_at"],  # type: ignore[arg-type]
        )
        assert plan.business_key == f"key-{number}"
        assert plan.billing_key.reveal() == row["billing_key"]
        assert plan.price == Money(row["amount"], "KRW")  # type: ignore[arg-type]
        assert (plan.customer.name, plan.order_name) == (row["customer_name"], row["order_name"])
        assert (plan.cadence, plan.first_cycle_number) == (cadence, 1)
