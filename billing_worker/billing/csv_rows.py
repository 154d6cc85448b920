"""CSV text into records: the shape of a file, before anything is known of what its cells mean.

Whatever is wrong becomes a Fault, never an exception. A fault never quotes a cell: one column too few, and a billing
key stands where an amount was expected.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Of a file read whole into memory: some 300 MB of text.
ROWS_MAX = 1_000_000

# Far more than any field that a PG takes.
CELL_CHARS_MAX = 1_000

# A pattern longer than this tells nobody more.
_SHAPE_CHARS_MAX = 24

# What a spreadsheet takes for the start of a formula; the file or an export of it will be opened in one.
_FORMULA_STARTS = tuple("=+-@")

_BYTE_ORDER_MARK = "\ufeff"

# Only what looks like the name of a column may be quoted: a file without a header has a row of cells in its first line.
_NAME_LIKE = re.compile(r"[a-z]+(_[a-z]+){0,3}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one place of a file. shape is the cell's pattern, 9 for a digit and a for a letter."""

    line: int
    column: str
    reason: str
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the file by column name. The line is the one it starts on."""

    line: int
    cells: Mapping[str, str]


def decoded(raw: bytes) -> str | Fault:
    """The text of a file, which must be UTF-8. A Korean Excel writes CP949 unless it is told otherwise."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Fault(line, "", "is not in UTF-8; in a spreadsheet, save as 'CSV UTF-8'")


def read_records(text: str, *, columns: frozenset[str], required: frozenset[str]) -> Iterator[Record | Fault]:
    """Every record of the file and every fault in its shape, in order. Nothing follows a bad header."""
    lines = _lines(text.removeprefix(_BYTE_ORDER_MARK))
    first = next(lines, None)
    if first is None:
        yield Fault(1, "", "the file is empty")
        return
    if isinstance(first, Fault):
        yield first
        return
    header = first[1]
    faults = tuple(_header_faults(header, columns=columns, required=required))
    yield from faults or _records(lines, header)


def shape_of(cell: str) -> str:
    """The pattern of a cell without its content: how long it is, and where its digits, letters and signs stand."""
    if not cell:
        return "empty"
    pattern = "".join(_class_of(character) for character in cell[:_SHAPE_CHARS_MAX])
    return f"{pattern}{'…' if len(cell) > _SHAPE_CHARS_MAX else ''} ({len(cell)} characters)"


def cell_fault(cell: str, *, may_start_with_sign: bool = False) -> str:
    """What is wrong with a cell whatever it means, or nothing."""
    if len(cell) > CELL_CHARS_MAX:
        return f"is longer than {CELL_CHARS_MAX} characters"
    if not cell.isprintable():
        unseen = next(character for character in cell if not character.isprintable())
        return f"has a control or invisible character, U+{ord(unseen):04X}"
    if cell != cell.strip():
        return "has a space before or after it"
    # Two spellings of one Korean word would be two keys, and two subscriptions.
    if not unicodedata.is_normalized("NFC", cell):
        return "is not in Unicode form NFC: its letters are stored in pieces"
    if not may_start_with_sign and cell.startswith(_FORMULA_STARTS):
        return "starts like a formula of a spreadsheet"
    return ""


def _lines(text: str) -> Iterator[tuple[int, list[str]] | Fault]:
    """Every line that is not empty, with the number it starts on. A break in the quoting ends the file."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(line, "", f"cannot be read as CSV, nor what follows: {error}")
            return
        if cells:
            yield line, cells


def _header_faults(header: list[str], *, columns: frozenset[str], required: frozenset[str]) -> Iterator[Fault]:
    for position, name in enumerate(header, start=1):
        column = name if _NAME_LIKE.fullmatch(name) else f"column {position}"
        if name not in columns:
            yield Fault(1, column, "is no column of this file; columns are separated by commas", shape_of(name))
        elif name in header[: position - 1]:
            yield Fault(1, column, "stands in the header twice")
    for name in sorted(required.difference(header)):
        yield Fault(1, name, "is missing in the header")


def _records(lines: Iterator[tuple[int, list[str]] | Fault], header: list[str]) -> Iterator[Record | Fault]:
    number = 0
    for number, item in enumerate(lines, start=1):
        if isinstance(item, Fault):
            yield item
            continue
        line, cells = item
        if number > ROWS_MAX:
            yield Fault(line, "", f"the file has more than {ROWS_MAX} rows")
            return
        if len(cells) != len(header):
            yield Fault(line, "", f"has {len(cells)} cells, and the header has {len(header)}")
        else:
            yield Record(line, dict(zip(header, cells, strict=True)))
    if number == 0:
        yield Fault(1, "", "the file has a header and no rows")


def _class_of(character: str) -> str:
    """A stand-in for one character: signs of ASCII stand for themselves, since reasons are about them."""
    if character.isdigit():
        return "9" if character.isascii() else "９"
    if character.isalpha():
        return "a" if character.isascii() else "가"
    return character if character.isascii() and character.isprintable() else "?"
