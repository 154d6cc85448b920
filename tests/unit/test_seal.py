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


def test_a_seal_s_lines_are_what_every_seal_s_were() -> None:
    root = hashlib.sha256("".join(line + "\n" for line in WHOLE[:-1]).encode()).hexdigest()

    assert WHOLE[1] == f'{{"business_key": "구독 2\\n", "sequence": 1, "entry_hash": "{"cd" * 32}"}}'
    assert WHOLE[-1] == f'{{"heads": 3, "root": "{root}"}}'
    assert lines_of([]) == [f'{{"heads": 0, "root": "{hashlib.sha256().hexdigest()}"}}']


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*WHOLE[:-1], WHOLE[-1].replace('"heads": 3', '"heads": 2')], "does not fit the lines before it"),
        ([*WHOLE[:-1], WHOLE[-1].replace('"root": "', '"root": "0')], "does not fit the lines before it"),
        ([*WHOLE, WHOLE[0]], "something follows the last line"),
        (WHOLE[:-1], "its last line is missing"),
        (['{"heads": 3}'], "a line is no head"),
        (['{"root": "ab"}'], "a line is no head"),
        (["not JSON"], "a line is not JSON"),
    ],
)
def test_a_person_reads_what_is_wrong_with_a_seal(lines: list[str], words: str) -> None:
    with pytest.raises(SealError, match=words):
        read(lines)
