"""A sound row of a file of subscriptions, files made of such rows, and what is read of them."""

import csv
import io

from billing_worker.billing.channels import KPN, ChannelProfile
from billing_worker.billing.csv_rows import Fault
from billing_worker.billing.intake import Intake, IntakeDefaults, read_rows
from billing_worker.billing.plans import PlannedSubscription

SECRET = "billing-key-0190a1b2-c3d4-7e5f-8a6b-9c0d1e2f3a4b"
ROW = {
    "business_key": "gym-0001",
    "customer_id": "cust-1",
    "customer_name": "김하늘",
    "customer_phone": "010-1234-5678",
    "customer_email": "sky@example.com",
    "billing_key": SECRET,
    "order_name": "Pro 월간 이용권",
    "amount": "9900",
    "anchor_on": "2026-01-31",
}
DEFAULTS = IntakeDefaults()


def csv_of(*rows: dict[str, str], line_end: str = "\n") -> str:
    """A file with every column that one of the rows has."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read(text: str, profile: ChannelProfile = KPN, defaults: IntakeDefaults = DEFAULTS) -> Intake:
    return read_rows(text, profile=profile, defaults=defaults)


def plan_of(**cells: str) -> PlannedSubscription:
    intake = read(csv_of(ROW | cells))
    assert intake.faults == ()
    return intake.plans[0]


def only_fault(text: str, profile: ChannelProfile = KPN) -> Fault:
    intake = read(text, profile)
    assert intake.plans == ()
    (fault,) = intake.faults
    return fault
