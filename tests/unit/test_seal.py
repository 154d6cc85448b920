"""Seals: a whole one is read as it was written, and a cut, changed or stitched one is no seal."""

import hashlib

import pytest

from billing_worker.billing.seal import Head, Seal, SealError, SealReader

HEADS = [Head("sub-1", 3, "ab" * 32), Head("구독 2\n", 1, "cd" * 32), Head("sub-3", 7, "ef" * 32)]


def lines_of(heads: list[Head]) -> list[str]:
    seal = Seal()
    return [*(seal.add(head) for head in heads), seal.last_line()]


def read(lines: list[str]) -> list[Head]:
    reader = SealReader()
    heads = [head for line in lines if (head := reader.take(line + "\n")) is not None]
    reader.finish()
    return heads


@pytest.mark.parametrize("heads", [HEADS, []])
def test_a_seal_is_read_as_it_was_written(heads: list[Head]) -> None:
    assert read(lines_of(heads)) == heads


def test_the_root_is_the_hash_of_the_lines_before_it() -> None:
    seal = Seal()
    lines = [seal.add(head) for head in HEADS]

    assert seal.root == hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


WHOLE = lines_of(HEADS)


@pytest.mark.parametrize(
    "lines",
    [
        WHOLE[:-1],
        [],
        WHOLE[1:],
        [WHOLE[1], WHOLE[0], *WHOLE[2:]],
        [WHOLE[0].replace('"sequence": 3', '"sequence": 2'), *WHOLE[1:]],
        [*WHOLE, WHOLE[0]],
        [*WHOLE, WHOLE[-1]],
        [*WHOLE[:-1], WHOLE[-1].replace('"heads": 3', '"heads": 2')],
        ["not JSON", *WHOLE],
        ["[]", *WHOLE],
        ['{"business_key": 1}', *WHOLE],
    ],
)
def test_what_is_no_whole_seal_is_refused(lines: list[str]) -> None:
    with pytest.raises(SealError):
        read(lines)
