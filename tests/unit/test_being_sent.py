"""Whether an attempt is being sent at this moment is one rule, and no lease is longer than it knows of."""

import re

import pytest

from billing_worker.settings.fields import ATTEMPT_LEASE_SECONDS_MAX
from billing_worker.store import files

RULE = re.compile(
    r"a\.status = 'open' AND a\.schedule_id IS NULL AND a\.look_at > \$\d "
    r"AND a\.look_at <= a\.last_sent_at \+ interval '(\d+) minutes'"
)


def query(name: str) -> str:
    text = "\n".join(files.query_texts())
    found = re.search(rf"^-- name: {name}$(.*?)(?=^-- name:|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(("name", "times"), [("look_soon", 2), ("read_hints", 1), ("order_looks", 1)])
def test_who_moves_a_look_knows_what_is_being_sent_by_the_same_rule(name: str, times: int) -> None:
    minutes = [int(found) for found in RULE.findall(query(name))]

    assert minutes == [ATTEMPT_LEASE_SECONDS_MAX / 60] * times
    assert not re.search(r"look_epoch = 0", query(name))
