"""Cells of a file of subscriptions: how far each may go, and what a person reads of one that goes too far."""

import pytest

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.channels import OTHER
from billing_worker.billing.csv_rows import CELL_CHARS_MAX, Fault, cell_fault, decoded, shape_of
from billing_worker.billing.intake import IntakeDefaults
from billing_worker.billing.model import Customer
from tests.intake_rows import ROW, SECRET, csv_of, only_fault, plan_of, read


def test_an_order_name_for_all_stands_in_where_a_row_has_none() -> None:
    nameless = {column: cell for column, cell in ROW.items() if column != "order_name"}
    defaults = IntakeDefaults(order_name="월간 이용권")

    absent = read(csv_of(nameless), defaults=defaults)
    empty = read(csv_of(ROW | {"order_name": ""}), defaults=defaults)
    own = read(csv_of(ROW), defaults=defaults)

    assert [plan.order_name for plan in (*absent.plans, *empty.plans)] == ["월간 이용권", "월간 이용권"]
    assert own.plans[0].order_name == ROW["order_name"]
    assert [fault.column for fault in read(csv_of(nameless)).faults] == ["order_name"]


def test_who_pays_is_taken_over_as_written_and_what_is_not_known_is_empty() -> None:
    least = {column: ROW[column] for column in ("business_key", "customer_id", "billing_key", "amount", "anchor_on")}

    full = plan_of()
    bare = read(csv_of(least | {"order_name": "Pro"}), OTHER).plans[0]

    assert full.customer == Customer("cust-1", "김하늘", "010-1234-5678", "sky@example.com")
    assert bare.customer == Customer("cust-1", "", "", "")


def test_a_fault_of_a_cell_shows_its_shape() -> None:
    assert only_fault(csv_of(ROW | {"amount": "9,900"})) == Fault(
        2, "amount", "must be a whole positive number, and has commas; write 10000, not 10,000", "9,999 (5 characters)"
    )


def test_two_rows_without_a_business_key_are_not_told_that_they_repeat_one() -> None:
    intake = read(csv_of(ROW | {"business_key": ""}, ROW | {"business_key": ""}))

    assert [(fault.line, fault.reason) for fault in intake.faults] == [
        (2, "must not be empty"),
        (3, "must not be empty"),
    ]


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("business_key", "k" * 120, "k" * 121),
        ("customer_id", "k" * 120, "k" * 121),
        ("customer_email", f"a@{'b' * 248}.com", f"a@{'b' * 249}.com"),
        ("customer_phone", "0101234", "010123"),
        ("customer_phone", "+8210 1234 5678 9012", "+8210 1234 5678 9012 3"),
        ("amount", "1000000000", "1000000001"),
        ("period_count", "366", "367"),
        ("charge_at", "23:59", "24:00"),
        ("charge_at", "19:00", "20:60"),
        ("billing_key", "k" * 200, "k" * 201),
    ],
)
def test_a_cell_may_go_as_far_as_its_bound(column: str, good: str, bad: str) -> None:
    assert plan_of(**{column: good})
    assert only_fault(csv_of(ROW | {column: bad})).column == column


def test_a_header_that_cannot_be_read_is_the_only_fault() -> None:
    fault = only_fault('"business_key"x,amount\n1,2\n')

    assert (fault.line, fault.column) == (1, "")
    assert fault.reason.startswith("cannot be read as CSV")


def test_a_fault_of_a_whole_line_names_no_column() -> None:
    assert only_fault("") == Fault(1, "", "the file is empty")
    assert decoded(b"a\n\xff") == Fault(2, "", "is not in UTF-8; in a spreadsheet, save as 'CSV UTF-8'")
    assert decoded(b"\n\xff") == Fault(2, "", "is not in UTF-8; in a spreadsheet, save as 'CSV UTF-8'")
    broken = read(csv_of(ROW) + '"a"b\n').faults
    assert [(fault.line, fault.column) for fault in broken] == [(3, "")]


def test_a_fault_of_the_header_names_the_column_and_shows_its_shape() -> None:
    unknown = read(csv_of(ROW | {"price": "1"})).faults
    secret = read(csv_of(ROW | {SECRET: "1"})).faults
    twice = read(csv_of(ROW).replace("customer_email", "amount", 1)).faults
    missing = read(csv_of({column: cell for column, cell in ROW.items() if column != "amount"})).faults

    assert unknown == (
        Fault(1, "price", "is no column of this file; columns are separated by commas", "aaaaa (5 characters)"),
    )
    assert [(fault.column, fault.shape) for fault in secret] == [("column 10", shape_of(SECRET))]
    assert twice == (Fault(1, "amount", "stands in the header twice"),)
    assert missing == (Fault(1, "amount", "is missing in the header"),)


def test_a_row_of_the_wrong_length_names_no_column_and_spoils_no_other_row() -> None:
    text = csv_of(ROW) + "gym-2,only,three\n" + csv_of(ROW | {"amount": "x", "business_key": "c"}).split("\n")[1] + "\n"

    assert [(fault.line, fault.column) for fault in read(text).faults] == [(3, ""), (4, "amount")]


def test_a_header_alone_names_no_column() -> None:
    assert only_fault(",".join(ROW)) == Fault(1, "", "the file has a header and no rows")


def test_a_shape_shows_no_control_and_no_foreign_sign() -> None:
    assert shape_of("a\x07é！") == "a?가? (4 characters)"


def test_a_cell_of_exactly_the_bound_is_not_too_long_for_a_cell() -> None:
    assert cell_fault("x" * CELL_CHARS_MAX) == ""
    assert cell_fault("x" * (CELL_CHARS_MAX + 1)) == f"is longer than {CELL_CHARS_MAX} characters"


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_billing_key_is_bounded_and_never_empty(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 200 characters"):
        BillingKey(key)


@pytest.mark.parametrize(("line_break", "code"), [("\r", "U+000D"), ("\n", "U+000A")])
def test_a_break_within_a_cell_is_named_as_it_was_written(line_break: str, code: str) -> None:
    fault = only_fault(csv_of(ROW | {"order_name": "NAME"}).replace("NAME", f'"two{line_break}lines"'))

    assert (fault.line, fault.column) == (2, "order_name")
    assert code in fault.reason


@pytest.mark.parametrize("column", ["business_key", "customer_id", "billing_key", "amount", "anchor_on"])
def test_what_no_charge_can_do_without_is_missed_in_the_header_and_in_a_row(column: str) -> None:
    without = only_fault(csv_of({name: cell for name, cell in ROW.items() if name != column}))
    empty = only_fault(csv_of(ROW | {column: ""}))

    assert without == Fault(1, column, "is missing in the header")
    assert empty == Fault(2, column, "must not be empty", "empty")


@pytest.mark.parametrize("column", ["amount", "period_count"])
def test_a_number_below_nothing_is_called_that_and_no_formula(column: str) -> None:
    fault = only_fault(csv_of(ROW | {column: "-1"}))

    assert fault == Fault(2, column, "must be a whole positive number, and is not positive", "-9 (2 characters)")


@pytest.mark.parametrize("sign", "=+-@")
def test_only_what_a_spreadsheet_takes_for_a_formula_is_called_one(sign: str) -> None:
    assert cell_fault(f"{sign}1") == "starts like a formula of a spreadsheet"
    assert cell_fault(f"{sign}1", may_start_with_sign=True) == ""
    assert cell_fault(f"?{sign}1") == ""


def test_a_shape_is_shown_as_far_as_it_tells_something() -> None:
    assert shape_of("x" * 24) == f"{'a' * 24} (24 characters)"
    assert shape_of("x" * 25) == f"{'a' * 24}… (25 characters)"
    assert Fault(1, "", "is wrong").shape == ""
