"""Seeds that have found something, and what. They are run every time.

A seed means another run as soon as the generator is changed, so what a seed has found is kept as a test of its own as
well wherever that can be written down: the third column names it.
"""

from typing import NamedTuple


class KeptSeed(NamedTuple):
    """A seed, what it found when it was kept, and the test that keeps it for good."""

    seed: int
    found: str
    test: str


KEPT: tuple[KeptSeed, ...] = (
    KeptSeed(
        15,
        "A machine that slept between two sends of one attempt sent bytes an hour after their deadline: the daemon "
        "counted deadlines by the loop's clock, which stands still meanwhile.",
        "tests/simulation/test_simulation.py::test_the_daemon_counts_deadlines_by_a_clock_that_runs_while_it_sleeps",
    ),
    KeptSeed(
        151,
        "A host clock that was wrong and put right again kept the gate closed for ever: no send, so no Date header "
        "that would have shown that PortOne's clock and the host's agree.",
        "tests/unit/test_skew.py::test_a_skew_that_no_answer_confirms_is_forgotten",
    ),
)
