"""Check the protocol's models and print one table: python -m tests.formal [--long] [--json FILE] [--stories]."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.formal.checker import MEMORY_MB_MAX, Finding, ask, missing_tools
from tests.formal.questions import LONG_RUN, SHORT_RUN, Question

SHORT_SECONDS_MAX = 240.0  # for one question; it takes a few seconds where nothing else runs
LONG_SECONDS_MAX = 7200.0
LONG_MEMORY_MB_MAX = 16_000
LACKS_A_TOOL = 77  # what tests/prove.py takes for "skipped"; no verdict ends with it


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask every question; 0 where each answer is the expected one, 77 where the tools are missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.formal", description="Check the protocol's models with spin."
    )
    parser.add_argument("--long", action="store_true", help="the larger bounds too: an hour, and up to 16 GB")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there")
    parser.add_argument("--stories", action="store_true", help="tell how each variant goes wrong")
    given = parser.parse_args(arguments)
    if missing := missing_tools():
        print(missing)
        return LACKS_A_TOOL
    findings = _ask_all(LONG_RUN if given.long else SHORT_RUN, long=given.long)
    print(table(findings))
    for finding in findings:
        if finding.story and (given.stories or not finding.expected):
            print(f"\n{finding.question.name}: {finding.question.says}", *finding.story, sep="\n  ")
    if given.json:
        given.json.write_text(json.dumps([_row(each) for each in findings], indent=1, ensure_ascii=False) + "\n")
    return 0 if all(finding.expected for finding in findings) else 1


def table(findings: Sequence[Finding]) -> str:
    """The findings as one Markdown table."""
    lines = [
        "| variant | expected | found | says | states | depth | seconds | MB |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in findings:
        found = _word(safe=each.safe) if each.expected else f"**{_word(safe=each.safe)}**"
        lines.append(
            f"| {each.question.name} | {_word(safe=each.question.safe)} | {found} | {each.question.says} "
            f"| {each.states:,} | {each.depth:,} | {each.seconds:.1f} | {each.memory_mb:.0f} |"
        )
    return "\n".join(lines)


def _ask_all(questions: Sequence[Question], *, long: bool) -> list[Finding]:
    seconds_max = LONG_SECONDS_MAX if long else SHORT_SECONDS_MAX
    memory_mb_max = LONG_MEMORY_MB_MAX if long else MEMORY_MB_MAX

    def asked(question: Question) -> Finding:
        return ask(question, seconds_max=seconds_max, memory_mb_max=memory_mb_max)

    # The long questions one by one, for the sake of the memory.
    with ThreadPoolExecutor(max_workers=1 if long else min(2, os.cpu_count() or 1)) as threads:
        return list(threads.map(asked, questions))


def _row(finding: Finding) -> dict[str, object]:
    return asdict(finding) | {"expected": finding.expected}


def _word(*, safe: bool) -> str:
    return "safe" if safe else "unsafe"


if __name__ == "__main__":
    sys.exit(main())
