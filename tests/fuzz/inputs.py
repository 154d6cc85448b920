"""Files of subscriptions and environments to fuzz with, sound ones and spoilt ones."""

import csv
import io

from hypothesis import strategies as st

from billing_worker.billing.columns import COLUMNS
from billing_worker.settings import documented
from tests.fuzz.claims import CSV_SECRET

SOUND_ROW = {
    "business_key": "gym-0001",
    "customer_id": "cust-1",
    "customer_name": "김하늘",
    "customer_phone": "010-1234-5678",
    "customer_email": "sky@example.com",
    "billing_key": CSV_SECRET,
    "order_name": "Pro 월간 이용권",
    "amount": "9900",
    "anchor_on": "2026-01-31",
}

DATABASE_PASSWORD = "hunter2-of-the-database-0190"
CONSOLE_SECRET = "5ecret-of-the-console-0190a1b2"
SOUND_ENVIRONMENT = {
    "BILLING_DATABASE_URL": f"postgresql://worker:{DATABASE_PASSWORD}@db.example.com:5432/billing",
    "BILLING_PORTONE_API_SECRET": CONSOLE_SECRET,
    "BILLING_PORTONE_STORE_ID": "store-0001",
}

_CELLS = st.text(max_size=20) | st.sampled_from(
    [
        *("", " ", "0", "-1", "1", "367", "9" * 20, "9" * 5000, "１", "²", "1e4", "9,900", "=1+1", "+82-10-1234-5678"),
        *("2026-02-29", "9999-12-31", "1970-01-01", "0000-00-00", "24:00", "09:00", "day", "year", "UTC", "localtime"),
        *("KRW", "USD", "KRW ", "krw", CSV_SECRET, f" {CSV_SECRET}", "x" * 1001, "\ufeff", "\ud800", "\u1112\u1161"),
        *("\x00", "a\nb", 'a"b', "a,b", "\r", "\u2028", "\x85", "Asia/Seoul", "../etc/passwd"),
    ]
)
_NAMES = st.sampled_from(sorted(COLUMNS)) | st.sampled_from(["Amount", "amount ", "", CSV_SECRET, "금액"]) | _CELLS


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """A file of rows that are mostly sound; then, sometimes, its bytes are spoilt."""
    rows = [dict(SOUND_ROW, business_key=f"gym-{number}") for number in range(draw(st.integers(0, 3)))]
    columns = list(draw(st.permutations([*SOUND_ROW])))
    for _ in range(draw(st.integers(0, 3))):
        if rows:
            draw(st.sampled_from(rows))[draw(st.sampled_from(columns))] = draw(_CELLS)
    if draw(st.integers(0, 3)) == 0:
        columns[draw(st.integers(0, len(columns) - 1))] = draw(_NAMES)
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = draw(st.sampled_from([lines[place][:-1], [*lines[place], CSV_SECRET], [CSV_SECRET], []]))
    return draw(_spoilt_bytes(_written(lines, draw(st.sampled_from(["\n", "\r\n", "\r"])))))


def _written(lines: list[list[str]], line_end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows(lines)
    return text.getvalue()


@st.composite
def _spoilt_bytes(draw: st.DrawFn, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, len(raw)))
    noise = draw(st.binary(min_size=1, max_size=40))
    spoilt = {
        "cut": raw[:place],
        "insert": raw[:place] + noise[:4] + raw[place:],
        "cp949": text.encode("cp949", "replace"),
        "utf-16": text.encode("utf-16", "surrogatepass"),
        "bom": b"\xef\xbb\xbf" + raw,
        "quote": raw[:place] + b'"' + raw[place:],
        "noise": noise,
    }
    return spoilt.get(draw(st.sampled_from(["whole"] * 5 + list(spoilt))), raw)


# What the operating system can hold in a variable: no NUL, and any other byte by way of a lone surrogate.
_VALUES = st.text(st.characters(exclude_characters="\x00"), max_size=30) | st.sampled_from(
    [
        *("", " ", "none", "0", "-1", "1", "60", "86400", "1e400", "nan", "inf", "-inf", "1_000", "١", "9" * 300),
        *("true", "false", "perhaps", "KPN", "OTHER", "1,3,5,7", "3,1", ",", "1,,2", ",".join(["1"] * 50)),
        *("https://api.portone.io", "http://127.0.0.1:8080", "http://[::1", "https://evil.example.com", "127.0.0.1:0"),
        *("[::1]:9464", ":" + "9" * 5000, "x:٣", "postgresql://", "postgresql://a,b/c", "postgres://u:p@[::1/db"),
        *(CONSOLE_SECRET, f"{CONSOLE_SECRET} ", f"{CONSOLE_SECRET}\n", f"https://me:{CONSOLE_SECRET}@127.0.0.1"),
        *(f"postgresql://u:{DATABASE_PASSWORD}@[db/billing", f"mysql://u:{DATABASE_PASSWORD}@db/billing"),
        *("/", "/nonexistent", "/dev/null", "\udcff", "x" * 300, "store-1", "channel-key-1", "DEBUG"),
    ]
)
_VARIABLES = st.sampled_from([row.name for row in documented()]) | st.sampled_from(
    [
        *("BILLING_DATABASE_URL_FILE", "BILLING_PORTONE_API_SECRET_FILE", "BILLING_SECRETS_DIR"),
        *("CREDENTIALS_DIRECTORY", "BILLING_PORTONE_STOREID", "BILLING_", "BILLING_PORT", "PATH"),
    ]
)
# What is shown as it was given, and what somebody may have pasted there.
_SHOWN = ("BILLING_WORKER_NAME", "BILLING_DEPLOYMENT", "BILLING_PORTONE_STORE_ID", "BILLING_PORTONE_CHANNEL_KEY")
_PASTED = st.sampled_from([CONSOLE_SECRET, DATABASE_PASSWORD, f"w-{CONSOLE_SECRET}", f"{DATABASE_PASSWORD}.db"])

ENVIRONMENTS = st.builds(
    lambda given, pasted: SOUND_ENVIRONMENT | given | pasted,
    st.dictionaries(_VARIABLES, _VALUES, max_size=4),
    st.dictionaries(st.sampled_from(_SHOWN), _PASTED, max_size=1),
)
